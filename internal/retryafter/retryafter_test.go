package retryafter

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestRead(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	epoch := func(d time.Duration, parts int64) string { return fmt.Sprint(now.Add(d).Unix() * parts) }
	date := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for _, c := range []struct {
		value, date string
		want        time.Duration
	}{
		{"", "", 0}, {"120", "", 2 * time.Minute}, {"0", "", time.Second}, {"-5", "", time.Second}, {"999999999", "", 24 * time.Hour},
		{"1.5", "", 1500 * time.Millisecond}, {"soon", "", 0}, {"NaN", "", 0}, {"inf", "", 24 * time.Hour},
		{date(time.Hour), "", time.Hour}, {date(-time.Hour), "", time.Second}, {date(48 * time.Hour), "", 24 * time.Hour},
		{date(time.Hour), date(30 * time.Minute), 30 * time.Minute},
		{epoch(45*time.Second, 1), "", 45 * time.Second}, {epoch(45*time.Second, 1000), "", 45 * time.Second}, {epoch(45*time.Second, 1e6), "", 45 * time.Second},
		{epoch(time.Hour, 1), date(30 * time.Minute), 30 * time.Minute}, {epoch(-time.Hour, 1), "", time.Second}, {"4102444800", "", 24 * time.Hour},
		{now.Add(time.Minute).Format(time.RFC3339), "", time.Minute}, {"30s", "", 30 * time.Second}, {"2 m", "", 2 * time.Minute}, {"1500ms", "", 1500 * time.Millisecond},
		{"3600000", "", time.Hour}, {"864000", "", 24 * time.Hour}, {"86400000", "", 24 * time.Hour}, {"86400", "", 24 * time.Hour}, {"86401", "", 24 * time.Hour}, {"3600", "", time.Hour},
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
