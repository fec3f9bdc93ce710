# Gatepost and nothing else: no shell, no libraries, an ordinary user.
#
#   docker build -t gatepost .
#   docker run --rm -it -v gatepost:/data gatepost init /data \
#       --hostname mx.example.org --domain example.org --account you@example.org
#   docker run -d --name gatepost --restart unless-stopped --hostname mx.example.org \
#       -p 25:25 -p 465:465 -p 587:587 -p 443:443 -p 80:80 -v gatepost:/data gatepost
#   docker exec gatepost /gatepost check --config /data/gatepost.toml

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make build && mkdir -m 0700 /empty

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /empty /data
COPY --from=build /src/gatepost /gatepost
USER 65532:65532
VOLUME /data
EXPOSE 25 80 443 465 587
ENTRYPOINT ["/gatepost"]
CMD ["serve", "--config", "/data/gatepost.toml"]
