FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
COPY client/go.mod client/go.sum client/
RUN go mod download
COPY . .
# The programs say which commit they are. .git is not copied, so the build is told;
# `make compose` does it.
ARG COMMIT
ARG COMMIT_TIME
ENV CGO_ENABLED=0
# With the cache, a later build compiles only what was changed.
RUN --mount=type=cache,target=/root/.cache/go-build \
    flags="-X github.com/perennial-oauth/perennial/internal/version.Commit=$COMMIT -X github.com/perennial-oauth/perennial/internal/version.CommitTime=$COMMIT_TIME" \
 && go build -trimpath -ldflags "$flags" -o /out/perennial ./starter \
 && go build -trimpath -ldflags "$flags" -o /out/worker ./worker \
 && go build -trimpath -ldflags "$flags" -o /out/server ./server \
 && go build -trimpath -ldflags "$flags" -o /out/fakeprovider ./fakeprovider/cmd/fakeprovider \
 && mkdir -p /out/keys /out/spool /out/state

# What the demonstration of docker-compose.yml needs, and nothing else does: a shell
# and the fake provider.
FROM busybox:1.37.0 AS demo
COPY --from=build /out/perennial /out/fakeprovider /usr/local/bin/
# A volume made from such a folder belongs to the user that the programs run as.
COPY --from=build --chown=65532:65532 --chmod=0700 /out/state /state
USER 65532:65532

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/perennial /out/worker /out/server /usr/local/bin/
COPY --from=build --chown=nonroot:nonroot --chmod=0700 /out/keys /keys
COPY --from=build --chown=nonroot:nonroot --chmod=0700 /out/spool /spool
ENTRYPOINT ["/usr/local/bin/perennial"]
