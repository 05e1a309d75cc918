// Package devserver finds or builds Temporal's development server, and runs it.
package devserver
