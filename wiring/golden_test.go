package wiring

import (
	"context"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/internal/golden"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/workflow"
)

// registered records what is registered with a worker: the names, and the JSON of each
// input and result. Histories have both.
type registered struct {
	Workflows  map[string]signature `json:"workflows"`
	Activities map[string]signature `json:"activities"`
}

type signature struct{ In, Out []any }

var (
	contextType         = reflect.TypeFor[context.Context]()
	workflowContextType = reflect.TypeFor[workflow.Context]()
	errorType           = reflect.TypeFor[error]()
)

func signatureOf(f reflect.Type) (s signature) {
	filled := func(t reflect.Type) any {
		v := reflect.New(t)
		fill.Values(v.Interface())
		return v.Elem().Interface()
	}
	for i := range f.NumIn() {
		if in := f.In(i); in != contextType && in != workflowContextType {
			s.In = append(s.In, filled(in))
		}
	}
	for i := range f.NumOut() {
		if out := f.Out(i); out != errorType {
			s.Out = append(s.Out, filled(out))
		}
	}
	return s
}

func (r *registered) RegisterWorkflow(any) { panic("each workflow has a name of its own") }

func (r *registered) RegisterWorkflowWithOptions(w any, o workflow.RegisterOptions) {
	r.Workflows[o.Name] = signatureOf(reflect.TypeOf(w))
}

func (r *registered) RegisterDynamicWorkflow(any, workflow.DynamicRegisterOptions) {
	panic("none is dynamic")
}

func (r *registered) RegisterActivity(a any) {
	r.RegisterActivityWithOptions(a, activity.RegisterOptions{})
}

func (r *registered) RegisterActivityWithOptions(a any, o activity.RegisterOptions) {
	v := reflect.ValueOf(a)
	if v.Kind() == reflect.Func {
		r.Activities[o.Name] = signatureOf(v.Type())
		return
	}
	for i := range v.NumMethod() {
		r.Activities[v.Type().Method(i).Name] = signatureOf(v.Method(i).Type())
	}
}

func (r *registered) RegisterDynamicActivity(any, activity.DynamicRegisterOptions) {
	panic("none is dynamic")
}

// TestGoldenRegistered: the names of all workflows and activities, with their inputs
// and results.
func TestGoldenRegistered(t *testing.T) {
	t.Parallel()
	keys, err := seal.NewEphemeral()
	require.NoError(t, err)
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "x.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	d := &Deps{Config: &config.Config{TaskQueue: "q", Timing: timing.Config{}.WithDefaults()}, Store: db, Keyring: keys, Log: slog.New(slog.DiscardHandler), binding: &Binding{}}
	r := &registered{Workflows: map[string]signature{}, Activities: map[string]signature{}}
	_, err = d.Register(r, nil, prometheus.NewRegistry())
	require.NoError(t, err)
	for name := range r.Activities {
		require.False(t, strings.HasPrefix(name, "Test"), name)
	}
	golden.JSON(t, "registered", r)
}
