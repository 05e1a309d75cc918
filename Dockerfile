FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -o /out/perennial ./starter \
 && CGO_ENABLED=0 go build -trimpath -o /out/worker ./worker \
 && CGO_ENABLED=0 go build -trimpath -o /out/server ./server \
 && CGO_ENABLED=0 go build -trimpath -o /out/fakeprovider ./fakeprovider/cmd/fakeprovider \
 && mkdir -p /out/keys /out/spool

# The demonstration of docker-compose.yml needs a shell; nothing else does.
FROM busybox:1.37.0 AS demo
COPY --from=build /out/perennial /usr/local/bin/
USER 65532:65532

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/perennial /out/worker /out/server /out/fakeprovider /usr/local/bin/
# A volume made from this folder belongs to the user that the programs run as.
COPY --from=build --chown=nonroot:nonroot --chmod=0700 /out/keys /keys
COPY --from=build --chown=nonroot:nonroot --chmod=0700 /out/spool /spool
ENTRYPOINT ["/usr/local/bin/perennial"]
