package fakeprovider

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// state is the format of the state file.
type state struct {
	Grants     map[string]*grant
	Access     map[string]*accessToken
	Refresh    map[string]*refreshToken
	Presented  []Presentation
	RequestLog []request // named anew when it got the client
}

// save writes the state file atomically, if one is configured. The caller holds the
// lock.
func (s *Server) save() error {
	if s.file == "" {
		return nil
	}
	raw, err := json.Marshal(state{s.grants, s.access, s.refresh, s.presented, s.requests})
	if err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	if err := os.WriteFile(s.file+".new", raw, 0o600); err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	return os.Rename(s.file+".new", s.file)
}

func (s *Server) restore() error {
	if s.file == "" {
		return nil
	}
	raw, err := os.ReadFile(s.file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	st := state{s.grants, s.access, s.refresh, nil, nil}
	if err := json.Unmarshal(raw, &st); err != nil {
		return fmt.Errorf("read the state in %s: %w", s.file, err)
	}
	s.presented, s.requests = st.Presented, st.RequestLog
	for _, a := range s.access {
		s.accessOf[a.Grant] = append(s.accessOf[a.Grant], a)
	}
	for key, g := range s.grants {
		if s.clients[g.Client] == nil {
			return fmt.Errorf("the state in %s has a grant %q of a client that is not configured", s.file, key)
		}
	}
	return nil
}
