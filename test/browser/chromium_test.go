package browser

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial/internal/connecttest"
)

// patience bounds each step. A busy machine is slow.
const patience = 2 * time.Minute

// screenshots is the folder for screenshots, from the repository's root. Git ignores
// it.
const screenshots = "../../artifacts/connect"

// executable returns the Chromium to run. scripts/chromium installs one.
func executable(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("PERENNIAL_TEST_CHROMIUM"); path != "" {
		return path
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium for this test: run scripts/chromium")
	return ""
}

// chromium starts a browser for t.
func chromium(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(executable(t)), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.IgnoreCertErrors, chromedp.WSURLReadTimeout(patience))
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	return ctx
}

// tab is a tab of a browser, or of a profile of its own.
type tab struct {
	t   *testing.T
	w   *connecttest.World
	ctx context.Context

	tall int64 // extra height, so that screenshots show more of the page

	mu        sync.Mutex
	callbacks []string // requested URLs of our pages, with their codes
	refusals  []string // by the content security policy, and other errors
}

// open opens a tab below parent.
func open(t *testing.T, w *connecttest.World, parent context.Context, options ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, stop := chromedp.NewContext(parent, options...)
	t.Cleanup(stop)
	b := &tab{t: t, w: w, ctx: ctx}
	_, err := chromedp.Run(ctx, chromedp.Location()) // the first call starts the tab, and must have no deadline
	require.NoError(t, err)
	require.NoError(t, chromedp.Listen(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			if strings.HasPrefix(e.Request.URL, w.URL+"/connect/callback/") {
				b.callbacks = append(b.callbacks, e.Request.URL)
			}
		case *log.EventEntryAdded:
			// A page with a 4xx status is an entry too.
			if e.Entry.Level == log.EntryLevelError && !strings.Contains(e.Entry.Text, "status of 4") {
				b.refusals = append(b.refusals, e.Entry.Text+" "+e.Entry.URL)
			}
		}
	}))
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	return b
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, actions...))
}

func get[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	out, err := chromedp.Run(ctx, action)
	require.NoError(b.t, err)
	return out
}

func call[P, R any](b *tab, command cdp.Command[P, R], params P) {
	b.t.Helper()
	get(b, func(ctx context.Context, target *chromedp.Target) (R, error) {
		return cdp.Call(ctx, target, command, params)
	})
}

func (b *tab) navigate(url string) { b.t.Helper(); b.do(chromedp.Navigate(url)) }

func (b *tab) click(selector string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// heading waits until the page has this heading.
func (b *tab) heading(want string) {
	b.t.Helper()
	b.until(`document.querySelector("h1") ? document.querySelector("h1").innerText : ""`, func(got string) bool { return got == want }, want)
}

// says waits until the page contains this text.
func (b *tab) says(want string) {
	b.t.Helper()
	b.until(`document.body.innerText`, func(got string) bool { return strings.Contains(got, want) }, want)
}

// until runs the script in a complete page until its result is wanted.
func (b *tab) until(script string, wanted func(string) bool, want string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for {
		got, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.readyState === "complete" ? `+script+` : ""`))
		if err == nil && wanted(got) {
			return
		}
		if ctx.Err() != nil { // an error here means that the page is being replaced
			require.NoError(b.t, err)
			require.FailNow(b.t, "not as wanted", "%q, but %q", want, got)
		}
	}
}

func (b *tab) url() string { b.t.Helper(); return get(b, chromedp.Location()) }

// lastCallback returns the URL of the newest authorization response.
func (b *tab) lastCallback() string {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	require.NotEmpty(b.t, b.callbacks)
	return b.callbacks[len(b.callbacks)-1]
}

// healthy checks what must hold for each of our pages, in the browser.
const healthy = `(() => {
  const wrong = [];
  const color = s => { const c = s.match(/[\d.]+/g).map(Number); return c.length < 4 ? [...c, 1] : c; };
  const luminance = c => { const f = c.slice(0, 3).map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * f[0] + .7152 * f[1] + .0722 * f[2]; };
  const behind = e => { for (; e; e = e.parentElement) { const c = color(getComputedStyle(e).backgroundColor); if (c[3] > 0) return c; } return [255, 255, 255, 1]; };
  for (const e of document.querySelectorAll("h1, p, a, button, dt, dd, li, code")) {
    if (!e.innerText.trim()) continue;
    const a = luminance(color(getComputedStyle(e).color)), b = luminance(behind(e));
    const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (contrast < 4.5) wrong.push("contrast " + contrast.toFixed(1) + " of " + e.tagName + " " + e.innerText);
  }
  for (const e of document.querySelectorAll("a, button")) {
    if (e.getBoundingClientRect().height < 40) wrong.push("too small for a finger: " + e.innerText);
  }
  if (document.documentElement.scrollWidth > innerWidth) wrong.push("wider than the screen: " + document.documentElement.scrollWidth);
  if (document.querySelectorAll("h1").length !== 1) wrong.push("not one heading");
  if (!document.documentElement.lang || !document.title) wrong.push("no language or title");
  if ([...document.querySelectorAll("input:not([type=hidden])")].some(i => !i.labels.length || !i.labels[0].innerText.trim())) wrong.push("an input without a label");
  for (const e of performance.getEntriesByType("resource")) if (new URL(e.name).origin !== location.origin) wrong.push("from elsewhere: " + e.name);
  return wrong;
})()`

// show checks the page and takes screenshots: on a phone, on a desktop, and in dark
// mode.
func (b *tab) show(name string) {
	b.t.Helper()
	require.NoError(b.t, os.MkdirAll(screenshots, 0o755))
	for _, screen := range []struct {
		name          string
		width, height int64
		scheme        string
	}{{"390", 390, 844, "light"}, {"1280", 1280, 800, "light"}, {"390-dark", 390, 844, "dark"}, {"", 320, 568, "light"}} {
		call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: screen.scheme}}})
		b.do(chromedp.EmulateViewport(screen.width, screen.height+b.tall))
		wrong, picture := get(b, chromedp.Evaluate[[]string](healthy)), get(b, chromedp.CaptureScreenshot())
		assert.Empty(b.t, wrong, "%s at %d, %s", name, screen.width, screen.scheme)
		if screen.name != "" {
			require.NoError(b.t, os.WriteFile(filepath.Join(screenshots, name+"-"+screen.name+".png"), picture, 0o644))
		}
	}
	b.quiet(name)
}

// quiet fails the test if the browser refused something.
func (b *tab) quiet(where string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	assert.Empty(b.t, b.refusals, where)
}

// withoutScripts turns JavaScript off, as some customers do.
func (b *tab) withoutScripts() {
	b.t.Helper()
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
}

// consent answers the provider's page.
func (b *tab) consent(account, deselect, button string) {
	b.t.Helper()
	b.heading("Allow access?")
	if deselect != "" {
		b.click(`input[value="` + deselect + `"]`)
	}
	if account != "" {
		b.do(chromedp.SetValue(chromedp.CSS("input[name=account]"), account))
	}
	b.click(`button[value="` + button + `"]`)
}
