/** The fields of tunnels: how a cluster is reached, its gateways and identities, and the gateway of the local cluster. */
import { defaultGatewayPort, type NamedGateway, parseGateway } from '../model/tunnel/gateway-address.ts'
import { isTrustDomain, parseSpiffeId } from '../model/tunnel/identity.ts'
import {
  bad,
  checked,
  endpoint,
  type Field,
  type Fields,
  field,
  integer,
  list,
  oneOf,
  optional,
  scalar,
  shown,
  table,
  text,
} from './fields.ts'
import { path, type Resolve } from './kinds.ts'

/** Of one of `clusters`. */
export const routeFields = {
  route: oneOf(
    'How its backends are reached: `direct` dials their addresses, `underlay` does so through the devices and routes of `underlay`, `tunnel` goes through its gateways over mutual TLS. With `tunnel` its addresses may be those of other clusters too.',
    ['direct', 'underlay', 'tunnel'],
    'direct',
  ),
  gateways: list(
    'Its gateways, for `route: tunnel`. New connections are spread over all of them. Without any, those that its source names: Services and nodes with the label `starlane.dev/gateway`.',
    gateway(),
    [],
  ),
  trustDomain: optional(
    checked(text('The trust domain of its certificates. By default that of the own certificate.'), name =>
      isTrustDomain(name) ? undefined : `${shown(name)} is not a trust domain; use a-z, 0-9, -, _ and .`,
    ),
  ),
  identities: list(
    'The SPIFFE ids that stand for the cluster, instead of spiffe://TRUST_DOMAIN/ns/CLUSTER/sa/gateway and …/sa/proxy.',
    spiffeId('A SPIFFE id.'),
    [],
  ),
  hbone: oneOf(
    'What its tunnels carry. With `double`, as between networks of Istio: a stream of the gateway carries a tunnel of its own to a workload, whose bytes the gateway does not read. For both directions.',
    ['single', 'double'],
    'single',
  ),
  workloads: list(
    'With `hbone: double`, the SPIFFE ids that workloads behind its gateways may have.',
    spiffeId('A SPIFFE id.'),
    [],
  ),
} satisfies Fields

export function tunnelFields(resolve: Resolve) {
  return {
    engine: oneOf(
      "Who carries tunnels: `auto` is the pump of the engine `native`, and one of its own for the gateway, where that engine is used and Node has what it needs; `node` is node:http2, on JavaScript's thread.",
      ['auto', 'node'],
      'auto',
    ),
    proxy: optional(
      checked(
        text(
          'An HTTP proxy that gateways are reached through, by CONNECT: `http://HOST:PORT`, with `USER:PASSWORD@` if it asks for them.',
        ),
        url => (isProxy(url) ? undefined : `${shown(url)} is not an HTTP proxy; write http://HOST:PORT`),
      ),
    ),
    certificates: optional(
      path(
        'A folder with `tls.crt`, `tls.key` and `ca.crt`, watched: what is shown to gateways of other clusters. By default that of `gateway`.',
        resolve,
      ),
    ),
    ...workloadFields('certificates'),
  } satisfies Fields
}

export function gatewayFields(resolve: Resolve) {
  return {
    listen: endpoint('The address to listen on.', `0.0.0.0:${defaultGatewayPort}`),
    certificates: optional(
      path('A folder with `tls.crt`, `tls.key` and `ca.crt`, watched. By default that of `tunnel`.', resolve),
    ),
    ...workloadFields('certificates'),
    authority: optional(
      path(
        'The folder of the authority (`ca.crt`, `ca.key`): this gateway then issues certificates to those who come with a token of `starlane mesh certificates invite`, and renews what it has issued.',
        resolve,
      ),
    ),
    limits: table('How much other clusters may hold at a time. At the limit each cluster gets its share.', {
      sessions: integer('The maximum number of sessions, which are TLS connections.', { min: 1, max: 1_000_000 }, 1000),
      streams: integer('The maximum number of streams, which are flows.', { min: 1, max: 1_000_000 }, 10_000),
    }),
  } satisfies Fields
}

/** Instead of a folder. */
function workloadFields(folder: string) {
  return {
    workloadApi: optional(
      checked(
        text(
          `In place of \`${folder}\`: a SPIFFE Workload API, such as that of a SPIRE agent, \`unix:///run/spire/agent.sock\`. It gives the certificate, its renewals and the roots of all trust domains. Needs the package @grpc/grpc-js.`,
        ),
        url =>
          /^unix:\/\/\/.|^tcp:\/\/[^/]+:\d+$/.test(url)
            ? undefined
            : `${shown(url)} is not a Workload API; write unix:///PATH or tcp://ADDRESS:PORT`,
      ),
    ),
    spiffeId: optional(spiffeId('Which identity to take where the Workload API gives several. By default the first.')),
  } satisfies Fields
}

function isProxy(text: string): boolean {
  const url = URL.parse(text)
  return url?.protocol === 'http:' && url.hostname !== '' && url.pathname === '/' && url.search === ''
}

/** `gw.example`, `gw.example:15008`, `192.0.2.1`, `[2001:db8::1]:15008`. */
function gateway(): Field<NamedGateway> {
  return field('host:port', 'A gateway.', undefined, value => {
    const written = scalar(value)
    return (
      parseGateway(written) ??
      bad(`${shown(value)} is not a gateway; write HOST:${defaultGatewayPort} or ADDRESS:${defaultGatewayPort}`)
    )
  })
}

function spiffeId(help: string): Field<string> {
  return field('SPIFFE id', help, undefined, value => {
    const written = scalar(value)
    return parseSpiffeId(written)
      ? written
      : bad(`${shown(value)} is not a SPIFFE id; write spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT`)
  })
}
