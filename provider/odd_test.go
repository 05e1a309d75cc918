package provider

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const oddReply = `{"access_token":"a-2","refresh_token":"r-2","token_type":"bearer","expires_in":3600}`

func gzipped(s string) string {
	var b strings.Builder
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

func zlibbed(s string) string {
	var b strings.Builder
	w := zlib.NewWriter(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

func inUTF16(s string, order binary.AppendByteOrder) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, unit)
	}
	return string(b)
}

// TestOddClothes: a token reply is read however it is packed.
func TestOddClothes(t *testing.T) {
	t.Parallel()
	type headers map[string]string
	for name, c := range map[string]struct {
		headers headers
		body    string
	}{
		"plain":                             {nil, oddReply},
		"text/plain":                        {headers{"Content-Type": "text/plain"}, oddReply},
		"text/html":                         {headers{"Content-Type": "text/html"}, oddReply},
		"a vendor's type":                   {headers{"Content-Type": "application/vnd.acme.v2+json; charset=utf-8"}, oddReply},
		"a byte-order mark":                 {nil, "\ufeff" + oddReply},
		"a mark after a space":              {nil, "\r\n \ufeff\ufeff" + oddReply},
		"NUL around":                        {nil, "\x00" + oddReply + "\x00\x00"},
		"something after it":                {nil, oddReply + "\n<!-- took 3 ms -->"},
		")]}'":                              {nil, ")]}'\n" + oddReply},
		")]}',":                             {nil, ")]}',\n" + oddReply},
		"while(1);":                         {nil, "while(1);" + oddReply},
		"for(;;);":                          {nil, "for (;;); " + oddReply},
		"{}&&":                              {nil, "{} && " + oddReply},
		"&&&START&&&":                       {nil, "&&&START&&&" + oddReply},
		"a mark and a guard":                {nil, "\ufeff)]}'\n" + oddReply},
		"a comment":                         {nil, "/*-secure-\n*/" + oddReply},
		"a call":                            {nil, "callback(" + oddReply + ");"},
		"gzip that says so":                 {headers{"Content-Encoding": "gzip"}, gzipped(oddReply)},
		"gzip, by its old name":             {headers{"Content-Encoding": "x-gzip"}, gzipped(oddReply)},
		"gzip that does not say so":         {nil, gzipped(oddReply)},
		"gzip twice":                        {headers{"Content-Encoding": "gzip"}, gzipped(gzipped(oddReply))},
		"gzip that is none":                 {headers{"Content-Encoding": "gzip"}, oddReply},
		"deflate":                           {headers{"Content-Encoding": "deflate"}, zlibbed(oddReply)},
		"UTF-16, little end first":          {nil, "\xff\xfe" + inUTF16(oddReply, binary.LittleEndian)},
		"UTF-16, big end first":             {nil, "\xfe\xff" + inUTF16(oddReply, binary.BigEndian)},
		"UTF-16 without a mark":             {nil, inUTF16(oddReply, binary.LittleEndian)},
		"UTF-16 without a mark, big":        {nil, inUTF16(oddReply, binary.BigEndian)},
		"UTF-16 in gzip":                    {nil, gzipped("\xff\xfe" + inUTF16(oddReply, binary.LittleEndian))},
		"a form":                            {headers{"Content-Type": "text/plain"}, "access_token=a-2&refresh_token=r-2&expires_in=3600"},
		"a form with a mark":                {nil, "\ufeffrefresh_token=r-2&expires_in=3600&access_token=a-2\n"},
		"under data":                        {nil, `{"code":0,"message":"OK","data":` + oddReply + `}`},
		"deep":                              {nil, `{"result":{"items":[{"token":` + oddReply + `}]}}`},
		"in a list":                         {nil, `[` + oddReply + `]`},
		"as text":                           {nil, string(must(json.Marshal(oddReply)))},
		"as text under body":                {nil, `{"statusCode":200,"body":` + string(must(json.Marshal(oddReply))) + `}`},
		"in camel case":                     {nil, `{"accessToken":"a-2","refreshToken":"r-2","tokenType":"bearer","expiresIn":3600}`},
		"in header case":                    {nil, `{"Access-Token":"a-2","Refresh-Token":"r-2","Expires-In":3600}`},
		"in capitals":                       {nil, `{"ACCESS_TOKEN":"a-2","REFRESH_TOKEN":"r-2","EXPIRES_IN":"3600"}`},
		"a refresh token beside the object": {nil, `{"refresh_token":"r-2","data":{"access_token":"a-2","expires_in":3600}}`},
		"a lifetime beside the object":      {nil, `{"expires_in":3600,"data":{"access_token":"a-2","refresh_token":"r-2"}}`},
		"after a warning":                   {headers{"Content-Type": "text/html"}, "<br />\n<b>Warning</b>: Undefined index {x} in a.php on line 3<br />\n" + oddReply},
		"in a page":                         {headers{"Content-Type": "text/html"}, "<html><body><pre>" + oddReply + "</pre></body></html>"},
		"in a page, escaped":                {headers{"Content-Type": "text/html"}, "<html><body>" + strings.ReplaceAll(oddReply, `"`, "&quot;") + "</body></html>"},
		"in single quotes":                  {nil, `{'access_token': 'a-2', 'refresh_token': 'r-2', 'expires_in': '3600'}`},
		"with a comma too much":             {nil, `{"access_token":"a-2","refresh_token":"r-2","expires_in":3600,}`},
		"with a line break in a text":       {nil, "{\"access_token\":\"a-2\",\"note\":\"two\nlines\",\"refresh_token\":\"r-2\",\"expires_in\":\"3600\"}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range c.headers {
					w.Header().Set(k, v)
				}
				_, _ = io.WriteString(w, c.body)
			}))
			defer server.Close()
			r := NewClient(ClientConfig{}).Refresh(t.Context(), app(server.URL), testSecret, testToken, free)
			require.Equal(t, perennial.OutcomeRefreshed, r.Outcome, r.Code)
			assert.Equal(t, []string{"a-2", "r-2"}, []string{r.Tokens.AccessToken.Reveal(), r.Tokens.RefreshToken.Reveal()})
			assert.Equal(t, time.Hour, r.Tokens.ExpiresIn)
			assert.False(t, r.Cut)
		})
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// TestNoTokensOfAnother: where it is in doubt which tokens are the grant's, none are
// taken.
func TestNoTokensOfAnother(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"two objects":                      `{"bot":{"access_token":"a","refresh_token":"r"},"user":{"access_token":"b","refresh_token":"s"}}`,
		"two in a list":                    `[{"access_token":"a"},{"access_token":"b"}]`,
		"a page about a token":             `<html><script>window.state={"user":{"access_token":"a"}}</script></html>`,
		"a page about two":                 `<html>` + oddReply + ` ` + strings.ReplaceAll(oddReply, "-2", "-3") + `</html>`,
		"two ways to write it":             `{"accessToken":"a","AccessToken":"b"}`,
		"too deep":                         strings.Repeat(`{"x":`, 40) + oddReply + strings.Repeat(`}`, 40),
		"a refusal that names the request": `{"error":"invalid_request","request":{"refresh_token":"r"}}`,
		"broken JSON that names it twice":  `{'access_token':'a','user':{'access_token':'b'}}`,
	} {
		r := readReply([]byte(body), Entry{}, time.Now())
		assert.True(t, r.tokens.AccessToken.IsZero(), name)
	}
	two := readReply([]byte(`{"access_token":"a","user":{"access_token":"b","refresh_token":"s"}}`), Entry{}, time.Now())
	assert.True(t, two.tokens.RefreshToken.IsZero(), "it is the user's")
	under := readReply([]byte(`{"a":{"token":{"access_token":"a"}},"b":{"access_token":"b"}}`), Entry{TokensUnder: "a.token"}, time.Now())
	assert.Equal(t, "a", under.tokens.AccessToken.Reveal(), "the entry's path")
}

// TestOddAccounts: the account, and the members to store, are found in the same clothes.
func TestOddAccounts(t *testing.T) {
	t.Parallel()
	a := App{Provider: Entry{Account: AccountSource{From: AccountFromReply, Name: "data.hub_id"}, MetadataFields: []string{"hub_id"}}}
	body := []byte("\ufeff)]}'\n" + `{"data":{"access_token":"a","hub_id":62515}}`)
	assert.Equal(t, "62515", accountIn(a, body))
	assert.Equal(t, map[string]string{"hub_id": "62515"}, readReply(body, a.Provider, time.Time{}).tokens.Metadata)
}

// TestLifetimes: every unit in which providers send lifetimes, the shorter reading first.
func TestLifetimes(t *testing.T) {
	t.Parallel()
	sent := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	in := func(d time.Duration) int64 { return sent.Add(d).Unix() }
	hour := Entry{DefaultLifetime: time.Hour}
	for members, c := range map[string]struct {
		entry Entry
		want  time.Duration
	}{
		`"expires_in":3600`:                                     {hour, time.Hour},
		`"expires_in":"3600"`:                                   {hour, time.Hour},
		`"expires_in":" 3600 "`:                                 {hour, time.Hour},
		`"expires_in":3600.0`:                                   {hour, time.Hour},
		`"expires_in":3.6e3`:                                    {hour, time.Hour},
		`"expires_in":"1h"`:                                     {hour, time.Hour},
		`"expires_in":"1h30m"`:                                  {hour, 90 * time.Minute},
		`"expires_in":"3600s"`:                                  {hour, time.Hour},
		`"expires_in":"60 minutes"`:                             {hour, time.Hour},
		`"expires_in":"1 Hour"`:                                 {hour, time.Hour},
		`"expires_in":"7d"`:                                     {hour, 7 * day},
		`"expires_in":3600000`:                                  {hour, time.Hour},
		`"expires_in":"7200000"`:                                {hour, 2 * time.Hour},
		`"expires_in":1800000`:                                  {hour, 30 * time.Minute},
		`"expires_in":604800`:                                   {hour, 7 * day},
		`"expires_in":3600000,"expires_in_sec":3600`:            {Entry{}, time.Hour},
		`"expires_in":7200,"expires_in_sec":3600`:               {Entry{}, time.Hour},
		`"expires_in_ms":3600000`:                               {Entry{}, time.Hour},
		`"expires_in":60`:                                       {Entry{LifetimeUnit: time.Minute}, time.Hour},
		`"expires_in": 3600000`:                                 {Entry{LifetimeUnit: time.Millisecond}, time.Hour},
		`"expires_in":86400000`:                                 {Entry{}, day},
		`"expires_in":31536000`:                                 {Entry{}, 365 * day},
		fmt.Sprintf(`"expires_in":%d`, in(time.Hour)):           {hour, time.Hour},
		fmt.Sprintf(`"expires_in":%d000`, in(time.Hour)):        {hour, time.Hour},
		fmt.Sprintf(`"expires_at":"%d"`, in(time.Hour)):         {Entry{}, time.Hour},
		fmt.Sprintf(`"expires_at":%d.5`, in(time.Hour)):         {Entry{}, time.Hour + 500*time.Millisecond},
		fmt.Sprintf(`"expires_on":%d000`, in(time.Hour)):        {Entry{}, time.Hour},
		fmt.Sprintf(`"expires":%d000000`, in(time.Hour)):        {Entry{}, time.Hour},
		`"expires_at":"2026-11-28T13:00:00Z"`:                   {Entry{}, time.Hour},
		`"expires_at":"2026-11-28T14:00:00.000+01:00"`:          {Entry{}, time.Hour},
		`"expires_at":"Sat, 28 Nov 2026 13:00:00 GMT"`:          {Entry{}, time.Hour},
		`"expires_in":"Sat, 28 Nov 2026 13:00:00 GMT"`:          {Entry{}, time.Hour},
		`"expires_at":"2026-11-28T11:59:00Z"`:                   {hour, time.Second}, // an old reply again
		`"expires_at":"0001-01-01T00:00:00Z"`:                   {hour, 0},
		`"expires_at":0`:                                        {hour, 0},
		`"expires_in":9000000000`:                               {Entry{}, 9000000 * time.Second}, // as an instant it would be in 2255
		`"expires_in":1e300`:                                    {hour, 0},
		`"expires_in":"soon"`:                                   {hour, 0},
		`"expires_in":"-1h"`:                                    {hour, 0},
		`"expires_in":3600,"expires_at":"2026-11-28T12:30:00Z"`: {hour, 30 * time.Minute},
		`"expires_in":0,"expires_at":"2026-11-28T12:30:00Z"`:    {hour, 30 * time.Minute},
	} {
		r := readReply([]byte(`{"access_token":"a","refresh_token":"r",`+members+`}`), c.entry, sent)
		assert.Equal(t, c.want, r.tokens.ExpiresIn, members)
		assert.Equal(t, "r", r.tokens.RefreshToken.Reveal(), members)
	}
	others := readReply([]byte(`{"access_token":"a","refreshTokenExpiresIn":7776000000,"xRefreshTokenHardExpiresIn":157680000,"expires_in":63072000}`),
		Entry{IdleLifetime: 90 * day, DefaultLifetime: 730 * day}, sent).tokens
	assert.Equal(t, []time.Duration{730 * day, 90 * day, 5 * 365 * day}, []time.Duration{others.ExpiresIn, others.RefreshTokenExpiresIn, others.GrantExpiresIn})
}

// TestInstantsByTheProvidersClock: an instant is compared with the reply's Date, and with
// our clock if that leaves less time.
func TestInstantsByTheProvidersClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct{ date, end, want time.Duration }{
		"the same":              {0, time.Hour, time.Hour},
		"ours is late":          {30 * time.Minute, 90 * time.Minute, time.Hour},
		"ours is early":         {-30 * time.Minute, 30 * time.Minute, 30 * time.Minute},
		"ours is past it":       {-2 * time.Hour, -time.Hour, time.Hour},
		"a Date of a month ago": {-30 * day, time.Hour, time.Hour},
	} {
		in := received{body: fmt.Appendf(nil, `{"access_token":"a","expires_at":%d}`, now.Add(c.end).Unix()), whole: true, sent: now, date: now.Add(c.date)}
		assert.Equal(t, c.want, in.read(Entry{}).tokens.ExpiresIn, name)
	}
}

// TestTokensBesideAStatus: tokens are stored under any status, but for an echo.
func TestTokensBesideAStatus(t *testing.T) {
	t.Parallel()
	for _, status := range []int{302, 400, 403, 429, 500, 502} {
		r := present(t, entry(t, "generic"), status, oddReply)
		assert.Equal(t, perennial.OutcomeRefreshed, r.Outcome, status)
		assert.Equal(t, "r-2", r.Tokens.RefreshToken.Reveal(), status)
	}
	echo := present(t, entry(t, "generic"), 500, fmt.Sprintf(`{"access_token":"a","refresh_token":%q}`, testToken.Reveal()))
	assert.Equal(t, perennial.OutcomeUnknown, echo.Outcome)
	refused := present(t, entry(t, "generic"), 400, `{"error":"invalid_grant","access_token":"a","refresh_token":"r-2"}`)
	assert.Equal(t, perennial.OutcomeRevoked, refused.Outcome)
}

// TestLongReply: a reply above the bound gives the members in front of it.
func TestLongReply(t *testing.T) {
	t.Parallel()
	long := present(t, entry(t, "generic"), 200, strings.TrimSuffix(oddReply, "}")+`,"x":"`+strings.Repeat("y", maxBody)+`"}`)
	assert.Equal(t, "r-2", long.Tokens.RefreshToken.Reveal())
	bomb := present(t, entry(t, "generic"), 200, gzipped(strings.TrimSuffix(oddReply, "}")+`,"x":"`+strings.Repeat("y", 100*maxBody)+`"}`))
	assert.Equal(t, "r-2", bomb.Tokens.RefreshToken.Reveal(), "only so much is unpacked")
	assert.False(t, bomb.Cut)
}

// FuzzTokensAreKept: the reader does not panic, returns no set without an access token,
// and loses no refresh token that a plain reader of JSON finds beside an access token.
func FuzzTokensAreKept(f *testing.F) {
	for _, body := range []string{oddReply, "\ufeff)]}'\n" + oddReply, gzipped(oddReply), zlibbed(oddReply), inUTF16(oddReply, binary.LittleEndian), `{"data":` + oddReply + `}`,
		`{"access_token":"a","refresh_token":"r","access_Token":"b","x":[{"refresh_token":"s"}]}`, `{'access_token':'a','refresh_token':'r'}`, `"{\"access_token\":\"a\"}"`,
		"access_token=a&refresh_token=%zz", "<p>" + oddReply, oddReply[:50], `callback(` + oddReply, `{"a":{"a":{"a":`, "[[[[{", "\x1f\x8b\x08"} {
		f.Add([]byte(body), true)
		f.Add([]byte(body), false)
	}
	f.Fuzz(func(t *testing.T, body []byte, whole bool) {
		in := received{body: body, whole: whole, sent: time.Now()}
		read := in.read(Entry{MetadataFields: []string{"m"}, DefaultLifetime: time.Hour})
		o := &oneShot{used: true, status: 200, body: body, whole: whole, at: time.Now()}
		o.sent.Store(true)
		r := o.reply(Entry{}, time.Now(), testSecret, testToken)
		if r.Outcome == perennial.OutcomeRefreshed && r.Tokens.AccessToken.IsZero() || r.Outcome != perennial.OutcomeRefreshed && !r.Tokens.AccessToken.IsZero() {
			t.Fatalf("%s with access token %v", r.Outcome, !r.Tokens.AccessToken.IsZero())
		}
		for _, scope := range read.tokens.Scopes {
			storable(t, "scope", scope, maxScope)
		}
		storable(t, "metadata", read.tokens.Metadata["m"], 256)
		var plain struct {
			Access  string `json:"access_token"`
			Refresh string `json:"refresh_token"`
			OK      *bool  `json:"ok"`
		}
		exact := map[string]any{}
		if json.Unmarshal(body, &plain) != nil || json.Unmarshal(body, &exact) != nil || exact["access_token"] != plain.Access || exact["refresh_token"] != plain.Refresh {
			return // not JSON, or its names are in another case
		}
		if plain.OK != nil && !*plain.OK || bytes.ContainsRune(body, '\ufffd') || bytes.Contains(body, []byte(`\ud`)) || bytes.Contains(body, []byte(`\uD`)) || !json.Valid(body) || strings.ContainsRune(plain.Refresh, '\ufffd') {
			return
		}
		if got := read.tokens.RefreshToken.Reveal(); plain.Access != "" && plain.Refresh != "" && got != plain.Refresh && !strings.ContainsFunc(plain.Refresh, func(r rune) bool { return r >= firstByte }) {
			t.Fatalf("refresh token %q of %q", got, plain.Refresh)
		}
	})
}
