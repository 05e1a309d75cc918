package foreign

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/stretchr/testify/require"
)

const (
	lemonldapProgram = `use Lemonldap::NG::Portal::Main; Lemonldap::NG::Portal::Main->run({});`
	lemonldapIni     = `[all]
logLevel = warn
[configuration]
type = File
dirName = %[1]s
localStorage = Cache::FileCache
localStorageOptions = {'namespace' => 'config', 'cache_root' => '%[1]s/cache', 'cache_depth' => 0}
[portal]
templateDir = /usr/share/lemonldap-ng/portal/templates
`
)

// serveLemonLDAP starts LemonLDAP::NG with its demonstration users.
func serveLemonLDAP(t *testing.T, redirectURI string) *server {
	t.Helper()
	dir, port := t.TempDir(), freePort(t)
	p := newProxy(t, port, "/oauth2/token")
	sessions := filepath.Join(dir, "sessions")
	for _, sub := range []string{"sessions/lock", "persistent/lock", "cache"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, sub), 0o700))
	}
	settings, err := json.Marshal(lemonldapSettings(t, dir, p.URL, redirectURI))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "lmConf-1.json"), settings, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "lemonldap-ng.ini"), fmt.Appendf(nil, lemonldapIni, dir), 0o600))
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	start(t, dir, base, []string{"LLNG_DEFAULTCONFFILE=" + filepath.Join(dir, "lemonldap-ng.ini")},
		program(t, "/usr/bin/plackup"), "--server", "HTTP::Server::PSGI", "--host", "127.0.0.1", "--port", fmt.Sprint(port), "-e", lemonldapProgram)
	return &server{
		proxy: p,
		consent: func(t *testing.T, b *connecttest.Browser, authorize string) string {
			login := b.Do(http.MethodPost, p.URL+"/", url.Values{"user": {"dwho"}, "password": {"dwho"}}, nil)
			cookie, _, _ := strings.Cut(login.Header.Get("Set-Cookie"), ";") // no jar takes it: its domain is .127.0.0.1
			return b.Do(http.MethodGet, authorize, nil, http.Header{"Cookie": {cookie}}).Location
		},
		alive: func(t *testing.T, token perennial.Secret) bool { return accepts(t, base+"/oauth2/userinfo", token) },
		end: func(t *testing.T) { // as the administrator's page of sessions does
			files, err := filepath.Glob(filepath.Join(sessions, "*"))
			require.NoError(t, err)
			for _, file := range files {
				if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
					require.NoError(t, os.Remove(file))
				}
			}
		},
	}
}

func lemonldapSettings(t *testing.T, dir, base, redirectURI string) map[string]any {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	files := func(name string) map[string]any {
		return map[string]any{"Directory": filepath.Join(dir, name), "LockDirectory": filepath.Join(dir, name, "lock"),
			"generateModule": "Lemonldap::NG::Common::Apache::Session::Generate::SHA256"}
	}
	return map[string]any{
		"cfgNum": 1, "cfgAuthor": "test", "cfgDate": 1, "cfgVersion": "2.16.1", "key": strings.Repeat("k", 16),
		"portal": base + "/", "domain": "127.0.0.1", "cookieName": "lemonldap", "securedCookie": 0,
		"authentication": "Demo", "userDB": "Same", "passwordDB": "Null", "registerDB": "Null", "demoExportedVars": map[string]string{"uid": "uid"}, "whatToTrace": "uid",
		"requireToken": 0, "captcha": "::Main::Plugin", // none: the real one needs ImageMagick
		"globalStorage": "Apache::Session::File", "globalStorageOptions": files("sessions"),
		"persistentStorage": "Apache::Session::File", "persistentStorageOptions": files("persistent"),
		"locationRules": map[string]any{}, "exportedHeaders": map[string]any{}, "timeout": 72000,
		"issuerDBOpenIDConnectActivation": 1, "oidcServiceMetaDataIssuer": base + "/", "oidcServiceKeyIdSig": "k",
		"oidcServicePrivateKeySig":              string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
		"oidcServicePublicKeySig":               string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
		"oidcServiceAllowAuthorizationCodeFlow": 1,
		"oidcRPMetaDataExportedVars":            map[string]any{"rp": map[string]any{}},
		"oidcRPMetaDataOptions": map[string]any{"rp": map[string]any{
			"oidcRPMetaDataOptionsClientID": clientID, "oidcRPMetaDataOptionsClientSecret": clientSecret, "oidcRPMetaDataOptionsRedirectUris": redirectURI,
			"oidcRPMetaDataOptionsBypassConsent": 1, "oidcRPMetaDataOptionsAllowOffline": 1, "oidcRPMetaDataOptionsRequirePKCE": 1,
			"oidcRPMetaDataOptionsIDTokenSignAlg": "RS256", "oidcRPMetaDataOptionsAccessTokenExpiration": 3600,
		}},
	}
}
