# Starlane as an image: compiled JavaScript, the native engine and their libraries on Alpine, as a user without rights, on a
# root file system that is never written to. `docker build -t starlane .`

FROM node:24-alpine AS build
WORKDIR /src
# The compiler stays in this stage; what it makes needs the libstdc++ that Node has brought along.
RUN apk add --no-cache g++
# The package `node` puts Node 24 on the PATH of older machines; here it is there already.
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY proxy proxy
COPY plugins plugins
COPY native native
# TypeScript is an optional peer of a library, so that npm keeps it, and it is more than a third of all there is.
RUN npm run build && npm run build:native && npm prune --omit=dev --ignore-scripts && rm -rf node_modules/typescript

FROM node:24-alpine
# `ip` makes ClusterIPs local where `proxy.anyip` asks for it.
RUN apk add --no-cache iproute2-minimal \
 && rm -rf /usr/local/lib/node_modules/npm /usr/local/bin/npm /usr/local/bin/npx /opt/yarn*
WORKDIR /starlane
COPY --from=build /src/package.json package.json
COPY --from=build /src/node_modules node_modules
COPY --from=build /src/dist dist
COPY --from=build /src/native/build native/build
COPY bin bin
COPY conf conf
RUN ln -s /starlane/bin/starlane.js /usr/local/bin/starlane
ENV NODE_ENV=production
# A number, so that `runAsNonRoot` can be checked.
USER 65532:65532
ENTRYPOINT ["starlane"]
CMD ["run", "-c", "/etc/starlane/starlane.yaml"]
