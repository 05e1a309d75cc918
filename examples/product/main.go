// Command product is an example of a product that lives with Perennial: it lets its
// customer connect accounts, writes the customer's orders to them, and never handles
// tokens itself.
//
// Each file shows one thing:
//
//   - page.go: Settings > Connections. It shows each connection's status in the
//     customer's words, with Connect, Reconnect and Disconnect, and the sync log. It
//     works without JavaScript and on a phone.
//   - session.go: a link belongs to the user who asked for it. Whoever else follows it
//     connects nothing.
//   - webhook.go: the events of Perennial, each taken once. reconnect_required puts
//     the connection's syncs aside, recovered resumes them. Events may come in any
//     order: the newest decides.
//   - sync.go: writes an order to the provider's API and handles each error.
//   - store.go: the syncs and the events, in one SQLite file.
//
// Run it beside a Perennial. The key needs the scopes tokens:read and
// connections:write. Perennial's configuration needs this page's URL as
// connect.reconnect_url and among connect.return_urls:
//
//	perennial apikey create --tenant acme --scopes tokens:read,connections:write
//	perennial webhook add http://127.0.0.1:8098/webhooks --tenant acme # notify: {allow_private: true} on one machine
//
//	PERENNIAL_URL=http://127.0.0.1:8080 PERENNIAL_KEY=pk_... WEBHOOK_SECRET=whsec_... \
//	PROVIDER_API=https://api.provider.example/orders go run ./examples/product
//
// It has one customer and no sign-in: put yours before the page, and store one API key
// for each customer; each customer is a tenant of Perennial.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/client/remote"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv); err != nil {
		log.Fatal("product: ", err)
	}
}

type product struct {
	tokens    *client.Client
	perennial *api
	store     *store
	users     sessions
	orders    string // URL of the provider's API that takes orders
	settings  string // URL of the page, as the customer's browser knows it

	wake   chan struct{} // signals that there may be something to sync
	titles sync.Map      // titles of providers by connection, as last read
}

func run(ctx context.Context, getenv func(string) string) (err error) {
	listen := cmp.Or(getenv("LISTEN"), "127.0.0.1:8098")
	address, key := getenv("PERENNIAL_URL"), perennial.NewSecret(getenv("PERENNIAL_KEY"))
	if getenv("PROVIDER_API") == "" {
		return errors.New("set PROVIDER_API to the URL that takes orders")
	}
	backend, err := remote.New(remote.Config{URL: address, Key: key})
	if err != nil {
		return err
	}
	tokens, err := client.New(client.Config{Backend: backend})
	if err != nil {
		return err
	}
	defer tokens.Close()
	kept, err := openStore(ctx, cmp.Or(getenv("DATABASE"), "product.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kept.close()) }()
	p := &product{tokens: tokens, perennial: newAPI(address, key), store: kept, orders: getenv("PROVIDER_API"),
		settings: cmp.Or(getenv("PUBLIC_URL"), "http://"+listen) + settingsPath, wake: make(chan struct{}, 1)}
	events, err := p.webhooks(getenv("WEBHOOK_SECRET"))
	if err != nil {
		return err
	}

	mux := http.NewServeMux()
	mux.Handle("POST /webhooks", events)
	p.pages(mux)
	// CrossOriginProtection refuses forms that another site sends. Webhooks pass: they
	// come from no browser.
	server := &http.Server{Handler: http.NewCrossOriginProtection().Handler(mux), ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("listen (set LISTEN): %w", err)
	}
	log.Printf("the page is at %s", p.settings)

	ctx, stop := context.WithCancel(ctx)
	var syncing sync.WaitGroup
	syncing.Go(func() { p.syncAll(ctx) })
	defer syncing.Wait()
	defer stop()
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return server.Shutdown(closing)
}
