package temporalserver

import (
	"fmt"
	"path/filepath"

	"github.com/perennial-oauth/perennial/internal/pgserver"
)

// config returns the server's configuration: one process, all services on loopback.
func config(pg *pgserver.Server, dir string, shards int, ports []int) string {
	store := func(database string, conns int) string {
		return fmt.Sprintf(`{sql: {pluginName: postgres12, databaseName: %s, connectAddr: "127.0.0.1:%d", connectProtocol: tcp, user: perennial, password: "", maxConns: %d, maxIdleConns: %d, maxConnLifetime: 1h}}`,
			database, pg.Port, conns, conns)
	}
	service := func(grpc, membership int) string {
		return fmt.Sprintf(`{rpc: {grpcPort: %d, membershipPort: %d, bindOnLocalHost: true}}`, grpc, membership)
	}
	return fmt.Sprintf(`
log: {stdout: true, level: warn}
persistence:
  defaultStore: main
  visibilityStore: visibility
  numHistoryShards: %d
  datastores:
    main: %s
    visibility: %s
global:
  membership: {maxJoinDuration: 30s, broadcastAddress: 127.0.0.1}
  metrics: {prometheus: {timerType: histogram, listenAddress: "127.0.0.1:%d"}}
services:
  frontend: %s
  history: %s
  matching: %s
  worker: %s
clusterMetadata:
  enableGlobalNamespace: false
  failoverVersionIncrement: 10
  masterClusterName: active
  currentClusterName: active
  clusterInformation:
    active: {enabled: true, initialFailoverVersion: 1, rpcName: frontend, rpcAddress: "127.0.0.1:%d"}
dcRedirectionPolicy: {policy: noop}
dynamicConfigClient: {filepath: %q, pollInterval: 60s}
`, shards, store("temporal", 40), store("temporal_visibility", 10), ports[8],
		service(ports[0], ports[1]), service(ports[2], ports[3]), service(ports[4], ports[5]), service(ports[6], ports[7]), ports[0], filepath.Join(dir, "dynamic.yaml"))
}

// dynamic raises limits that are lower than what one machine can do.
const dynamic = `
system.forceSearchAttributesCacheRefreshOnRead: [{value: true}]
frontend.rps: [{value: 100000}]
frontend.namespaceRPS: [{value: 100000}]
history.rps: [{value: 100000}]
matching.rps: [{value: 100000}]
`
