package sim

import (
	"fmt"
	"slices"
	"time"
)

// Result is what a simulation measured. Rates are per second, averaged over whole
// minutes.
//
// A minute is steady unless it is in a window. A window begins with an outage or an
// import, and ends [Config.Settle] lives of that app's tokens (at most a day each)
// after the outage or import ends. PeakToMean is the busiest steady minute divided by
// the mean of all steady minutes.
type Result struct {
	Connections int     `json:"connections"`
	Hours       float64 `json:"hours"`
	TookSeconds float64 `json:"took_seconds"`

	Refreshes       int64   `json:"refreshes"`
	PerSecondMean   float64 `json:"per_second_mean"` // of steady minutes
	PerSecondPeak   float64 `json:"per_second_peak"` // of steady minutes
	PeakToMean      float64 `json:"peak_to_mean"`
	PerSecondMost   float64 `json:"per_second_most"` // of all minutes
	MostToMean      float64 `json:"most_to_mean"`
	SteadyMinutes   int     `json:"steady_minutes"`
	WindowMinutes   int     `json:"window_minutes"`
	PerDay          float64 `json:"refreshes_per_connection_day"`
	Late            int64   `json:"late"`                   // refreshes after expiry, where the provider was up since the last refresh
	LateInOutage    int64   `json:"late_in_outage"`         // refreshes after expiry, because the provider was down
	LeastLifeLeft   float64 `json:"least_life_left_s"`      // at the refreshes that no outage delayed
	BusiestApp      int     `json:"app_requests_per_s_max"` // of any app in any second
	BusiestAppNamed string  `json:"app_requests_per_s_max_app"`

	Apps         []AppResult   `json:"apps"`
	Disturbances []Disturbance `json:"disturbances"`
	Minutes      []float64     `json:"per_second_by_minute"`
}

// AppResult is the same for one app. PeakToMean uses the app's own mean; for a small
// app it is mostly chance.
type AppResult struct {
	Name          string  `json:"name"`
	LifeSeconds   float64 `json:"life_s"`
	LifeTo        float64 `json:"life_to_s,omitempty"`
	Source        string  `json:"life_source"`
	Connections   int     `json:"connections"`
	Limit         float64 `json:"limit_per_s,omitempty"`
	PerSecondMean float64 `json:"per_second_mean"`
	PeakToMean    float64 `json:"peak_to_mean"`
	PerDay        float64 `json:"refreshes_per_connection_day"`
	PerSecondMost int     `json:"requests_per_s_max"`
	Late          int64   `json:"late"`
	LateInOutage  int64   `json:"late_in_outage"`
	LeastLifeLeft float64 `json:"least_life_left_s"`
}

// Disturbance is an outage or an import, and its effects.
type Disturbance struct {
	What    string  `json:"what"`
	App     string  `json:"app"`
	AtHours float64 `json:"at_hours"`
	// PeakToMean is the app's busiest minute after the start, divided by the app's
	// steady mean.
	PeakToMean float64 `json:"peak_to_mean"`
	// EvenAfterHours is the time from its end to the app's last minute above 1.3 times
	// its steady mean.
	EvenAfterHours float64 `json:"even_after_hours"`
}

const even = 1.3

// Run simulates. The result depends only on the configuration.
func Run(c Config) (Result, error) {
	began := time.Now()
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return Result{}, fmt.Errorf("simulate: %w", err)
	}
	w := newWorld(c)
	w.run()
	out := w.result()
	out.TookSeconds = time.Since(began).Seconds()
	return out, nil
}

func (w *world) result() Result {
	out := Result{Connections: len(w.fleet), Hours: w.For.Hours(), LeastLifeLeft: 1e18}
	windows, disturbances := w.windows()
	minutes := int(w.For / time.Minute)
	total := make([]uint32, minutes)
	size := make([]int, len(w.apps))
	for _, c := range w.fleet {
		size[c.app]++
	}
	for i, a := range w.apps {
		per := w.counts.minutes[i][:minutes]
		var n int64
		for m, v := range per {
			total[m] += v
			n += int64(v)
		}
		mean, peak, _, _ := steady(per, windows)
		r := AppResult{Name: a.Name, LifeSeconds: a.Life.Seconds(), LifeTo: a.LifeTo.Seconds(), Source: a.Source, Connections: size[i], Limit: a.limit,
			PerSecondMean: mean / 60, PeakToMean: ratio(peak, mean), PerDay: mean * 24 * 60 / float64(max(size[i], 1)), PerSecondMost: w.counts.busiest[i],
			Late: w.counts.late[i], LateInOutage: w.counts.lateOutage[i], LeastLifeLeft: span(w.counts.least[i]).Seconds()}
		out.Apps = append(out.Apps, r)
		out.Refreshes += n
		out.Late += r.Late
		out.LateInOutage += r.LateInOutage
		out.LeastLifeLeft = min(out.LeastLifeLeft, r.LeastLifeLeft)
		if r.PerSecondMost > out.BusiestApp {
			out.BusiestApp, out.BusiestAppNamed = r.PerSecondMost, r.Name
		}
		for d := range disturbances {
			if disturbances[d].App == a.Name {
				disturbances[d].after(per, mean)
			}
		}
	}
	mean, peak, in, outside := steady(total, windows)
	out.PerSecondMean, out.PerSecondPeak, out.PeakToMean = mean/60, peak/60, ratio(peak, mean)
	out.PerSecondMost = float64(slices.Max(total)) / 60
	out.MostToMean = ratio(float64(slices.Max(total)), mean)
	out.SteadyMinutes, out.WindowMinutes = in, outside
	out.PerDay = mean * 24 * 60 / float64(len(w.fleet))
	for _, n := range total {
		out.Minutes = append(out.Minutes, float64(n)/60)
	}
	for _, d := range disturbances {
		out.Disturbances = append(out.Disturbances, d.Disturbance)
	}
	return out
}

// window is a range of minutes that are not steady.
type window struct{ from, to int }

// disturbance is a [Disturbance] with the minutes after its end, up to the app's next
// one.
type disturbance struct {
	Disturbance
	from, end, until int
}

func (w *world) windows() (out []window, all []disturbance) {
	add := func(what, name string, at, length time.Duration) {
		if at >= w.For {
			return
		}
		a := w.Apps[w.app(name)]
		settle := time.Duration(w.Settle) * min(max(a.Life, a.LifeTo), 24*time.Hour)
		minute := func(d time.Duration) int { return int(d / time.Minute) }
		out = append(out, window{minute(at), minute(at + length + settle)})
		all = append(all, disturbance{Disturbance{What: what, App: name, AtHours: at.Hours()}, minute(at), minute(at + length), minute(w.For)})
	}
	for _, o := range w.Outages {
		add("outage", o.App, o.At, o.For)
	}
	for _, i := range w.Imports {
		add("import", i.App, i.At, i.Left)
	}
	for i := range all {
		for _, other := range all {
			if other.App == all[i].App && other.from > all[i].from {
				all[i].until = min(all[i].until, other.from)
			}
		}
	}
	return out, all
}

func (d *disturbance) after(per []uint32, mean float64) {
	for m := d.from; m < min(d.until, len(per)); m++ {
		r := ratio(float64(per[m]), mean)
		d.PeakToMean = max(d.PeakToMean, r)
		if r > even && m >= d.end {
			d.EvenAfterHours = float64(m+1-d.end) / 60
		}
	}
}

// steady returns the mean and the peak of the minutes outside every window.
func steady(per []uint32, windows []window) (mean, peak float64, in, outside int) {
	var sum float64
	for m, n := range per {
		if slices.ContainsFunc(windows, func(w window) bool { return m >= w.from && m < w.to }) {
			outside++
			continue
		}
		in++
		sum += float64(n)
		peak = max(peak, float64(n))
	}
	return sum / float64(max(in, 1)), peak, in, outside
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
