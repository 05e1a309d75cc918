package provider

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"html"
	"io"
	"regexp"
	"unicode/utf16"
)

// maxLayers bounds how many encodings of one body are undone.
const maxLayers = 2

// decoded undoes the compression of a body and its UTF-16. It looks at the bytes, not
// at the headers, which proxies change without the body and leave when they change the
// body. proven reports that a checksum covers the body to its end; broken, that the
// compressed body breaks off.
func decoded(body []byte) (plain []byte, proven, broken bool) {
	for range maxLayers {
		var r io.ReadCloser
		var err error
		switch {
		case bytes.HasPrefix(body, []byte{0x1f, 0x8b}):
			r, err = gzip.NewReader(bytes.NewReader(body))
		case isZlib(body):
			r, err = zlib.NewReader(bytes.NewReader(body))
		default:
			return utf8Of(body), proven, broken
		}
		if err != nil {
			return utf8Of(body), proven, true
		}
		plain, err = io.ReadAll(io.LimitReader(r, maxBody+1))
		proven = err == nil && len(plain) <= maxBody
		broken = broken || !proven
		body = plain[:min(len(plain), maxBody)]
	}
	return utf8Of(body), proven, broken
}

// isZlib reports whether a body begins like a zlib stream (RFC 1950) of the usual
// window, which no text does.
func isZlib(body []byte) bool {
	return len(body) > 2 && body[0] == 0x78 && bytes.IndexByte([]byte{0x01, 0x5e, 0x9c, 0xda}, body[1]) >= 0 && body[1] != '^'
}

// utf8Of turns UTF-16 into UTF-8, and leaves anything else alone. Without a byte-order
// mark it knows UTF-16 by the zero beside the first character, which is ASCII in JSON
// and in forms (RFC 4627 section 3).
func utf8Of(body []byte) []byte {
	var order binary.ByteOrder
	switch {
	case len(body) < 4:
		return body
	case body[0] == 0xfe && body[1] == 0xff, body[0] == 0 && body[1] != 0 && body[2] == 0:
		order = binary.BigEndian
	case body[0] == 0xff && body[1] == 0xfe, body[1] == 0 && body[0] != 0 && body[3] == 0:
		order = binary.LittleEndian
	default:
		return body
	}
	units := make([]uint16, len(body)/2)
	for i := range units {
		units[i] = order.Uint16(body[2*i:])
	}
	return []byte(string(utf16.Decode(units)))
}

// guards matches what servers write in front of JSON so that no script tag can read it,
// or the call that a script tag would run (JSONP).
var guards = regexp.MustCompile(`^(?:\)\]\}'?,?|&&&[A-Z]+&&&|(?:for|while)\s*\([^)]*\)\s*;?|throw [^;{]*;|\{\}\s*&&|/\*[^{}]*\*/|//[^\n{]*\n|[A-Za-z_$][\w.$]*\()\s*`)

// trimmed removes from a text what surrounds its content: spaces, NUL, byte-order marks
// and guards.
func trimmed(body []byte) []byte {
	const around = "\x00 \t\r\n\v\f\ufeff"
	for range maxLayers {
		body = bytes.Trim(body, around)
		if guard := guards.Find(body); guard != nil && bytes.IndexByte([]byte(`{["`), next(body, len(guard))) >= 0 {
			body = body[len(guard):]
		}
	}
	return bytes.Trim(body, around)
}

func next(body []byte, i int) byte {
	if i < len(body) {
		return body[i]
	}
	return 0
}

// isMarkup reports whether a text is a page. A page refuses nothing, not even with an
// error code in it.
func isMarkup(body []byte) bool { return bytes.HasPrefix(body, []byte("<")) }

// maxEmbedded bounds how many objects within a page or another text are looked at.
const maxEmbedded = 16

// embedded finds the token reply within a page or another text, as of a server that
// writes its warnings in front of the JSON. It must be the only object there with an
// access token and one more member of RFC 6749 section 5.1: a page may be about other
// tokens.
func embedded(body []byte) (found map[string]any, ok bool) {
	for _, text := range [][]byte{body, []byte(html.UnescapeString(string(body)))} {
		rest := text
		for range maxEmbedded {
			i := bytes.IndexByte(rest, '{')
			if i < 0 {
				break
			}
			members, used := firstObject(rest[i:])
			rest = rest[i+used:]
			if members == nil || !isTokenReply(members) {
				continue
			}
			if found != nil {
				return nil, false
			}
			found = members
		}
		if found != nil {
			return found, true
		}
	}
	return nil, false
}

func isTokenReply(members map[string]any) bool {
	if text(members["access_token"]) == "" {
		return false
	}
	for _, name := range []string{"refresh_token", "token_type", "expires_in", "scope"} {
		if text(members[name]) != "" {
			return true
		}
	}
	return false
}

// firstObject reads the whole JSON object with which text begins. used is how much of
// the text to skip.
func firstObject(text []byte) (members map[string]any, used int) {
	p := newParser(text)
	v := p.value(0)
	if m, ok := v.(map[string]any); ok && !p.broken {
		return m, int(p.decoder.InputOffset())
	}
	return nil, 1
}
