// Package workflows holds Perennial's Temporal workflows. Register adds them to
// any worker; the activities are in package activities.
package workflows
