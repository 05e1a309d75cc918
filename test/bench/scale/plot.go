package scale

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// The picture shows busy cores over connections. Both axes are logarithmic.
const (
	width, height            = 720, 440
	left, right, top, bottom = 70, 150, 30, 50
	leastCores, mostCores    = 0.001, 1000.0
)

// plot draws busy cores over connections, for 30-minute tokens.
func (u Units) plot(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	x := func(n float64) float64 { return left + (width-left-right)*(math.Log10(n)-4)/3 }
	y := func(c float64) float64 {
		return height - bottom - (height-top-bottom)*math.Log10(c/leastCores)/math.Log10(mostCores/leastCores)
	}
	for c := leastCores; c <= mostCores*1.001; c *= 10 {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n", left, y(c), width-right, left-8, y(c)+4, math.Round(c*1000)/1000)
	}
	for _, n := range sizes {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x(float64(n)), height-bottom+20, short(float64(n)))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">connections with tokens of 30 minutes</text><text x="16" y="%d" transform="rotate(-90 16 %d)" text-anchor="middle">busy cores, everything</text>`+"\n",
		(left+width-right)/2, height-10, height/2, height/2)
	for i, line := range []struct {
		name, colour string
		pooled       bool
		unused       float64
	}{{"own", "#b33", false, 0}, {"own, half on_use", "#e99", false, 0.5}, {"pooled", "#27a", true, 0}, {"pooled, half on_use", "#8bd", true, 0.5}} {
		var path []string
		for _, n := range sizes {
			cores := u.Of(Fleet{Connections: n, Life: 30 * time.Minute, Pooled: line.pooled, Unused: line.unused}).Cores
			path = append(path, fmt.Sprintf("%.1f %.1f", x(float64(n)), y(cores)))
		}
		fmt.Fprintf(&b, `<path d="M%s" fill="none" stroke="%s" stroke-width="2"/><text x="%d" y="%d" fill="%s">%s</text>`+"\n",
			strings.Join(path, "L"), line.colour, width-right+12, top+20+18*i, line.colour, line.name)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(out, b.String())
	return err
}
