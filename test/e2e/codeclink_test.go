package e2e

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/perennial-oauth/perennial"
	tokens "github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/perennial-oauth/perennial/internal/doctor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
)

// TestCodecByLink: with a codec server a customer connects and reconnects by link, the
// doctor finds nothing to mend, and Temporal holds nothing readable.
func TestCodecByLink(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := startCodecServer(t)
	s := setup(t, setting{links: true, environ: []string{"CODEC_AUTH=" + codecAuth},
		top: "\ntemporal_codec_endpoint: " + c.URL + "\ntemporal_codec_auth_env: CODEC_AUTH" + fastSweep})
	require.NoError(t, s.provider.SetKnobs(clientID, "", fakeprovider.Knobs{LifetimeSeconds: 600, Rotate: true}))
	s.commanded(nil, "setup")
	s.endSweep()
	s.work()
	server := s.serve()
	product := s.remote(server)
	transport := server.transport()
	t.Cleanup(transport.CloseIdleConnections)
	connected := func(made tokens.ConnectSession) (connection string) {
		page := connecttest.NewBrowser(t, linkBase, transport).Go(made.Link.Reveal(), connecttest.Consent{Account: plantedAccount})
		require.Equal(t, "Acme is connected", page.Heading())
		session, err := product.Session(ctx, made.ID)
		require.NoError(t, err)
		return session.Connection
	}

	made, err := product.Connect(ctx, tokens.ConnectRequest{App: "app", TenantTitle: "Acme Inc."})
	require.NoError(t, err)
	id := connected(made)
	s.showsStatus(id, perennial.StatusActive)
	s.eventually("a pass of the sweep is complete", func() bool { return len(s.sweeps()) > 0 })
	assert.Empty(t, s.notWell())

	require.NoError(t, s.provider.Revoke(clientID, plantedAccount))
	_, err = s.command(nil, "refresh", id, "--now")
	require.Error(t, err)
	s.showsStatus(id, perennial.StatusReconnectRequired)
	again, err := product.Reconnect(ctx, id, tokens.ReconnectRequest{})
	require.NoError(t, err)
	require.Equal(t, id, connected(again))
	s.showsStatus(id, perennial.StatusActive)

	_, err = product.Disconnect(ctx, id)
	require.NoError(t, err)
	s.eventually("its workflow has ended", func() bool { return s.execution(id) == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED })
	for _, h := range s.histories(id) {
		s.hidden(h)
	}
}

// notWell returns what the doctor says is not well.
func (s *stack) notWell() (out []doctor.Finding) {
	s.Helper()
	said, err := s.command(nil, "doctor", "--json")
	require.NoError(s, err, said)
	var report doctor.Report
	require.NoError(s, json.Unmarshal([]byte(said), &report))
	require.NotEmpty(s, report.Findings)
	return slices.DeleteFunc(report.Findings, func(f doctor.Finding) bool { return f.State == doctor.Well })
}
