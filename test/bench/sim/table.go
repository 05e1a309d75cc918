package sim

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Table writes the result for people.
func (r Result) Table(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%d connections, %.0f h simulated in %.1f s\n\n", r.Connections, r.Hours, r.TookSeconds)
	fmt.Fprintf(t, "refreshes/s, steady mean\t%.1f\t\n", r.PerSecondMean)
	fmt.Fprintf(t, "peak minute to mean, steady\t%.3f\t\n", r.PeakToMean)
	fmt.Fprintf(t, "peak minute to mean, all\t%.3f\t\n", r.MostToMean)
	fmt.Fprintf(t, "refreshes a connection and day\t%.2f\t\n", r.PerDay)
	fmt.Fprintf(t, "late\t%d\t\n", r.Late)
	fmt.Fprintf(t, "late for an outage\t%d\t\n", r.LateInOutage)
	fmt.Fprintf(t, "least life left\t%.1f s\t\n", r.LeastLifeLeft)
	fmt.Fprintf(t, "most requests/s of an app\t%d (%s)\t\n", r.BusiestApp, r.BusiestAppNamed)
	fmt.Fprintf(t, "minutes steady / in windows\t%d / %d\t\n\n", r.SteadyMinutes, r.WindowMinutes)
	fmt.Fprintln(t, "app\tconnections\tlife min\tlimit/s\tmean/s\tpeak:mean\ta day\tmost/s\tlate\tfor outage\tleast left s\t")
	for _, a := range r.Apps {
		fmt.Fprintf(t, "%s\t%d\t%.0f\t%.0f\t%.2f\t%.2f\t%.2f\t%d\t%d\t%d\t%.1f\t\n", a.Name, a.Connections, a.LifeSeconds/60, a.Limit,
			a.PerSecondMean, a.PeakToMean, a.PerDay, a.PerSecondMost, a.Late, a.LateInOutage, a.LeastLifeLeft)
	}
	fmt.Fprintln(t, "\nafter\tapp\tat h\tpeak:mean\teven after h\t")
	for _, d := range r.Disturbances {
		fmt.Fprintf(t, "%s\t%s\t%.0f\t%.2f\t%.1f\t\n", d.What, d.App, d.AtHours, d.PeakToMean, d.EvenAfterHours)
	}
	return t.Flush()
}
