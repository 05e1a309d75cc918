package retryafter

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestRead(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	date := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for _, c := range []struct {
		value, date string
		want        time.Duration
	}{
		{"", "", 0}, {"120", "", 2 * time.Minute}, {"0", "", time.Second}, {"-5", "", time.Second}, {"999999999", "", 24 * time.Hour},
		{"1.5", "", 1500 * time.Millisecond}, {"soon", "", 0}, {"NaN", "", 0}, {"inf", "", 24 * time.Hour},
		{date(time.Hour), "", time.Hour}, {date(-time.Hour), "", time.Second}, {date(48 * time.Hour), "", 24 * time.Hour},
		{date(time.Hour), date(30 * time.Minute), 30 * time.Minute},
	} {
		h := http.Header{}
		h.Set("Retry-After", c.value)
		h.Set("Date", c.date)
		assert.Equal(t, c.want, Read(h, now), "%q with date %q", c.value, c.date)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("120", "Thu, 01 Jan 2026 00:00:00 GMT")
	f.Fuzz(func(t *testing.T, value, date string) {
		d := Read(http.Header{"Retry-After": {value}, "Date": {date}}, time.Now())
		if d != 0 && (d < Min || d > Max) {
			t.Fatalf("%s is out of bounds", d)
		}
	})
}
