package fakeprovider

import (
	"encoding/json"
	"net/http"
)

// control is the body of every POST below /_control/.
type control struct {
	Client  string   `json:"client"`
	Account string   `json:"account"`
	Scopes  []string `json:"scopes"`
	Knobs   Knobs    `json:"knobs"`
	Secrets []string `json:"secrets"`
}

func (s *Server) controlled(w http.ResponseWriter, r *http.Request, do func(control) (any, error)) {
	var c control
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		http.Error(w, "the body is not a control request: "+err.Error(), http.StatusBadRequest)
		return
	}
	out, err := do(c)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	reply(w, http.StatusOK, out)
}

func (s *Server) controlGrant(w http.ResponseWriter, r *http.Request) {
	s.controlled(w, r, func(c control) (any, error) { return s.Grant(c.Client, c.Account, c.Scopes...) })
}

func (s *Server) controlKnobs(w http.ResponseWriter, r *http.Request) {
	s.controlled(w, r, func(c control) (any, error) { return struct{}{}, s.SetKnobs(c.Client, c.Account, c.Knobs) })
}

func (s *Server) controlSecrets(w http.ResponseWriter, r *http.Request) {
	s.controlled(w, r, func(c control) (any, error) { return struct{}{}, s.SetSecrets(c.Client, c.Secrets...) })
}

func (s *Server) controlRevoke(w http.ResponseWriter, r *http.Request) {
	s.controlled(w, r, func(c control) (any, error) { return struct{}{}, s.Revoke(c.Client, c.Account) })
}
