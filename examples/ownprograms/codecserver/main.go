// Command codecserver serves the platform team's codec: to the shipped programs, with
// temporal_codec_endpoint, and to people's browsers and the command line of Temporal.
//
//	PAYLOAD_KEY=... CODEC_AUTH="Bearer ..." go run ./examples/ownprograms/codecserver -listen 127.0.0.1:8888
package main

import (
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/perennial-oauth/perennial/examples/ownprograms/platform"
	"go.temporal.io/sdk/converter"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8888", "address")
	ui := flag.String("ui", "http://localhost:8233", "origin of the Temporal UI")
	decodeOnly := flag.Bool("decode-only", false, "encode nothing: the first step of switching the codec on")
	flag.Parse()
	if err := serve(*listen, *ui, *decodeOnly); err != nil {
		fmt.Fprintln(os.Stderr, "codecserver:", err)
		os.Exit(1)
	}
}

func serve(listen, ui string, decodeOnly bool) error {
	key, err := hex.DecodeString(os.Getenv("PAYLOAD_KEY"))
	auth := os.Getenv("CODEC_AUTH")
	if err != nil || auth == "" {
		return errors.New("set PAYLOAD_KEY to 64 hexadecimal digits, and CODEC_AUTH to the Authorization header that callers send")
	}
	codec, err := platform.NewCodec(key)
	if err != nil {
		return err
	}
	codec.DecodeOnly = decodeOnly
	s := &http.Server{Addr: listen, Handler: handler(converter.NewPayloadCodecHTTPHandler(codec), auth, ui), ReadHeaderTimeout: 5 * time.Second}
	return s.ListenAndServe()
}

// handler checks the authorization, and lets the browser of the Temporal UI in.
func handler(codec http.Handler, auth, ui string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", ui)
		w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Namespace")
		w.Header().Set("Access-Control-Allow-Credentials", "true")
		switch {
		case r.Method == http.MethodOptions:
			w.WriteHeader(http.StatusNoContent)
		case subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte(auth)) != 1:
			http.Error(w, "Authorization is wrong", http.StatusUnauthorized)
		default:
			codec.ServeHTTP(w, r)
		}
	})
}
