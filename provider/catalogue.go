package provider

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/strictyaml"
	"golang.org/x/oauth2"
)

const day = 24 * time.Hour

//go:embed catalogue/*.yaml
var files embed.FS

//go:embed catalogue/schema.json
var schema []byte

// Schema returns the JSON Schema of a [Description], with which editors check files.
func Schema() []byte { return slices.Clone(schema) }

// catalogue has the known providers, in alphabetical order.
var catalogue = sync.OnceValue(func() []Entry {
	var all []Entry
	for _, name := range Names() {
		raw, err := files.ReadFile(path(name))
		if err != nil {
			panic(err) // an embedded file: TestCatalogue reads them all
		}
		e, err := ReadDescription(path(name), name, raw)
		if err != nil {
			panic(err)
		}
		all = append(all, e)
	}
	return all
})

func path(name string) string { return "catalogue/" + name + ".yaml" }

// Names lists the catalogue in alphabetical order.
func Names() []string {
	list, err := files.ReadDir("catalogue")
	if err != nil {
		panic(err)
	}
	var names []string
	for _, f := range list {
		names = append(names, strings.TrimSuffix(f.Name(), ".yaml"))
	}
	slices.Sort(names) // github.yaml comes after github-app.yaml
	return names
}

// Lookup finds an entry by name. The entry is the caller's own.
func Lookup(name string) (Entry, bool) {
	for _, e := range catalogue() {
		if e.Name == name {
			e.Spellings, e.Evidence = slices.Clone(e.Spellings), slices.Clone(e.Evidence)
			e.MetadataFields, e.HostSuffixes = slices.Clone(e.MetadataFields), slices.Clone(e.HostSuffixes)
			e.RequestHeaders, e.RefreshParams, e.AuthParams, e.ScopesUnnamed = maps.Clone(e.RequestHeaders), maps.Clone(e.RefreshParams), maps.Clone(e.AuthParams), slices.Clone(e.ScopesUnnamed)
			e.MembersAt, e.Assertion.Claims = maps.Clone(e.MembersAt), maps.Clone(e.Assertion.Claims)
			e.Credentials, e.CredentialsOptional = slices.Clone(e.Credentials), slices.Clone(e.CredentialsOptional)
			e.API.Spellings, e.API.ReadPosts = slices.Clone(e.API.Spellings), slices.Clone(e.API.ReadPosts)
			e.ScopesImply, e.ScopePrefixes = maps.Clone(e.ScopesImply), slices.Clone(e.ScopePrefixes)
			e.APIHosts = slices.Clone(e.APIHosts)
			e.Exchange.Client, e.FirstExchange.Client = slices.Clone(e.Exchange.Client), slices.Clone(e.FirstExchange.Client)
			return e, true
		}
	}
	return Entry{}, false
}

// ReadDescription reads the description of a whole provider. file stands in the errors,
// one for each problem, all of [perennial.CodeInvalid].
func ReadDescription(file, name string, raw []byte) (Entry, error) {
	var d Description
	doc := strictyaml.Decode(raw, &d)
	e := d.Over(Entry{Name: name}, false, func(key, text string) {
		doc.Problems = append(doc.Problems, strictyaml.Problem{Line: doc.Line(key), Text: key + " " + text})
	})
	if len(doc.Problems) == 0 && name != Generic {
		if err := e.placed().Validate(); err != nil {
			doc.Problems = append(doc.Problems, strictyaml.Problem{Text: strings.TrimPrefix(err.Error(), "provider "+name+": ")})
		}
	}
	return e, strictyaml.Join(file, doc.Problems)
}

// maxFile bounds the file of a description, in bytes, so that a path to something else is
// noticed.
const maxFile = 256 << 10

// ReadFile reads the file of a whole provider; the provider has the file's name. A file
// that cannot be read is an [fs.PathError], everything else as in [ReadDescription].
func ReadFile(path string) (Entry, error) {
	base := filepath.Base(path)
	name := strings.TrimSuffix(base, filepath.Ext(base))
	info, err := os.Stat(path)
	if err != nil {
		return Entry{}, err
	}
	switch {
	case !info.Mode().IsRegular(): // a pipe or a device would block or never end
		return Entry{}, &fs.PathError{Op: "read", Path: path, Err: errors.New("it is not a file")}
	case info.Size() > maxFile:
		return Entry{}, &fs.PathError{Op: "read", Path: path, Err: errors.New("it is too large for a description")}
	case !strictyaml.PlainName.MatchString(name):
		return Entry{}, perennial.Errorf(perennial.CodeInvalid, "the file's name is the provider's: letters a to z, digits, - and _, at most 41, with a letter first")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return Entry{}, err
	}
	return ReadDescription(path, name, raw)
}

// Generic is the name of the entry that only a configuration makes whole.
const Generic = "generic"

// unplaced reports whether the entry is of a server that runs anywhere: it names no
// endpoint, its notes say what they are below the server's address, and the configuration
// names them.
func (e Entry) unplaced() bool {
	return e.AuthURL == "" && e.TokenURL == "" && strings.Contains(e.Notes, "auth_url")
}

// placed returns an unplaced entry with an endpoint, so that all else about it can be
// validated.
func (e Entry) placed() Entry {
	if e.unplaced() {
		e.TokenURL = "https://host.example/token"
	}
	return e
}

// Validate returns an error if an entry, with the configuration's settings, is
// incomplete.
func (e Entry) Validate() error {
	if e.DescribesItself() {
		if err := e.validateIssuer(); err != nil {
			return err
		}
		e = e.standIn()
	}
	switch {
	case e.TokenURL == "":
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: token_url is needed", e.Name)
	case e.RefreshURL != "" && e.refreshURL() != e.RefreshURL:
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: refresh_url must be at the host of token_url", e.Name)
	case authStyles[e.AuthStyle] == "":
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: auth_style must be one of %s: probing for it would show a refresh token twice", e.Name, strings.Join(enumOf[Description]("AuthStyle"), ", "))
	case e.AuthStyle == AuthStyleTLS && !strings.HasPrefix(e.TokenURL, "https:"):
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: auth_style tls_client_auth needs a token_url with https: without TLS nothing proves the client", e.Name)
	case e.SecretAsUser && e.AuthStyle != oauth2.AuthStyleInHeader:
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: auth_style must be header: its client secret stands in for the user name", e.Name)
	case e.HostNeeded() && len(e.HostSuffixes) == 0:
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: token_url has a {host}: say in hosts which there may be", e.Name)
	case e.HostFrom != "" && !(e.HostNeeded() && slices.ContainsFunc(e.HostSuffixes, isWholeName)):
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: host_from needs a {host} in token_url, and whole names in hosts", e.Name)
	case !slices.Contains(perennial.ReplayClasses, e.ReplayClass):
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: replay_class %q is not one of %v", e.Name, e.ReplayClass, perennial.ReplayClasses)
	case e.ReplaySource == "":
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: say where its replay class is documented", e.Name)
	case e.ReplayClass == perennial.ReplayGrace && e.GraceWindow <= 0:
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: replay_class grace needs a grace_window", e.Name)
	case e.IssuerSent && e.Issuer == "":
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: issuer_sent needs an issuer", e.Name)
	}
	for _, s := range e.Spellings {
		if err := s.validate(e.Name); err != nil {
			return err
		}
	}
	if err := e.validateGrant(); err != nil {
		return err
	}
	if err := e.validateRenewal(); err != nil {
		return err
	}
	return e.validateAccount()
}

// String names the entry.
func (e Entry) String() string { return fmt.Sprintf("%s (%s)", e.Name, e.TokenURL) }
