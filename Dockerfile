FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -o /out/perennial ./starter \
 && CGO_ENABLED=0 go build -trimpath -o /out/worker ./worker \
 && CGO_ENABLED=0 go build -trimpath -o /out/fakeprovider ./fakeprovider/cmd/fakeprovider \
 && mkdir -p /out/keys

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/perennial /out/worker /out/fakeprovider /usr/local/bin/
# A volume made from this folder belongs to the user that the programs run as.
COPY --from=build --chown=nonroot:nonroot --chmod=0700 /out/keys /keys
ENTRYPOINT ["/usr/local/bin/perennial"]
