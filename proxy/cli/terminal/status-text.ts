/** The text of `starlane status`, for all clusters or for one. */
import type { BackendView, ClusterView, ComponentView, ServiceView, Status, TunnelView } from '../../model/views.ts'
import type { Paint } from './io.ts'
import { columns, count, durationOf, fitted, span, table, wrapped } from './table.ts'

/** All components, clusters and problems. */
export function statusText(status: Status, paint: Paint, isWide = false, width?: number): string {
  const parts = [
    headline(status, paint),
    components(status, paint, width),
    clusters(status, paint, isWide, width),
    tunnels(status.clusters, status, paint),
    underlay(status.underlay, paint),
    problems(status, paint, width),
  ]
  return parts.filter(part => part !== '').join('\n')
}

/** One cluster in detail, with the services that use its backends. */
export function clusterText(
  cluster: ClusterView,
  services: readonly ServiceView[],
  status: Status,
  paint: Paint,
): string {
  const { name, local, tenant, source, globalServices, backends } = cluster
  const properties = [
    ['Link', linkText(cluster, status, paint)],
    ...(cluster.link.error === undefined ? [] : [['Error', cluster.link.error]]),
    ['Source', source],
    ['Changed', changedText(cluster, status)],
    ['Services', `${cluster.services}, ${globalServices} global`],
    ['Backends', String(backends)],
    ...(cluster.nodes === undefined ? [] : [['Nodes', String(cluster.nodes)]]),
    ...(cluster.serviceExports === undefined ? [] : [['Exports', String(cluster.serviceExports)]]),
    ...(tenant === undefined ? [] : [['Tenant', tenant]]),
  ]
  const rows = services.map(service => usage(service, name))
  const heads = ['SERVICE', 'BACKENDS ', 'HEALTHY ', 'TAKING FLOWS ']
  const used = rows.length > 0 ? table(heads, rows, head => paint('soft', head)) : 'No service uses its backends.\n'
  const place = local ? 'the local cluster' : 'a remote cluster'
  const head = `${paint('strong', name)}, ${place}, id ${idText(cluster)}\n`
  const ways = tunnels([cluster], status, paint)
  return [head, columns(properties), ...(ways === '' ? [] : [ways]), used].join('\n')
}

function headline({ version, cluster, ready, stopping, startedAt, now, waiting }: Status, paint: Paint): string {
  const state = ready ? paint('good', 'ready') : paint('warn', stopping ? 'stopping' : 'starting')
  const rest = ready ? '' : `, waiting for ${waiting.join(', ') || 'its components'}`
  return `${paint('strong', 'Starlane')} ${version} in ${cluster}: ${state}${rest}, up ${span(now - startedAt)}\n`
}

const componentPaint = { ok: 'good', warning: 'warn', error: 'bad', disabled: 'soft' } as const

function components({ components }: Status, paint: Paint, width: number | undefined): string {
  const mark = ({ state }: ComponentView) => paint(componentPaint[state], state === 'ok' ? 'OK' : state)
  const rows = components.map(component => [component.name, mark(component), component.detail])
  const before =
    Math.max(...components.map(({ name }) => name.length)) +
    Math.max(...components.map(({ state }) => state.length)) +
    4
  if (width === undefined) return columns(rows)
  return columns(
    rows.flatMap(([name = '', state = '', detail = '']) =>
      wrapped(detail, width - before).map((line, i) => (i === 0 ? [name, state, line] : ['', '', line])),
    ),
  )
}

function clusters(status: Status, paint: Paint, isWide: boolean, width: number | undefined): string {
  const heads = ['CLUSTER', 'ID ', 'LINK', 'SERVICES ', ...(isWide ? ['GLOBAL '] : []), 'BACKENDS ', 'CHANGED']
  if (isWide) heads.push('SOURCE')
  const rows = status.clusters.map(cluster => [
    cluster.local ? `${cluster.name} (local)` : cluster.name,
    idText(cluster),
    linkText(cluster, status, paint),
    String(cluster.services),
    ...(isWide ? [String(cluster.globalServices)] : []),
    String(cluster.backends),
    changedText(cluster, status),
    ...(isWide ? [cluster.source] : []),
  ])
  return fitted(heads, rows, isWide ? undefined : width, head => paint('soft', head))
}

/** The ways to the gateways of clusters that are reached through them; empty if there are none. */
function tunnels(clusters: readonly ClusterView[], { now }: Status, paint: Paint): string {
  const rows = clusters.flatMap(({ name, tunnels = [] }) =>
    tunnels.map(tunnel => [
      name,
      tunnel.gateway,
      `${paint(tunnelPaint[tunnel.state], tunnel.state)} for ${span(now - tunnel.since)}`,
      String(tunnel.tunnels),
      String(tunnel.streams),
      tunnel.roundTripMs === undefined ? '-' : durationOf(tunnel.roundTripMs),
      certificateText(tunnel.certificate, now),
    ]),
  )
  const heads = ['CLUSTER', 'GATEWAY', 'STATE', 'TUNNELS ', 'STREAMS ', 'ROUND TRIP ', 'CERTIFICATE']
  return rows.length === 0 ? '' : table(heads, rows, head => paint('soft', head))
}

/** The nodes that are reached through the underlay; empty without one. */
function underlay(seen: Status['underlay'], paint: Paint): string {
  const rows = (seen?.peers ?? []).map(({ cluster, node, address, networks, state, mtu, roundTripMs }) => [
    ...[cluster, node, address, networks.join(', '), paint(reachPaint[state], state), String(mtu)],
    roundTripMs === undefined ? '-' : durationOf(roundTripMs),
  ])
  const heads = ['CLUSTER', 'NODE', 'ADDRESS', 'PODS', 'STATE', 'MTU ', 'ROUND TRIP ']
  return rows.length === 0 ? '' : table(heads, rows, head => paint('soft', head))
}

const reachPaint = { unknown: 'soft', reached: 'good', narrow: 'warn', silent: 'bad' } as const

const tunnelPaint = { open: 'good', connecting: 'warn', suspect: 'warn', lost: 'bad' } as const

function certificateText(certificate: TunnelView['certificate'], now: number): string {
  if (!certificate) return '-'
  const left = certificate.validTo - now
  return left > 0 ? `valid for ${span(left)}` : `ended ${span(-left)} ago`
}

/** Id 0: the cluster announces its id itself and has not done so yet. */
function idText({ id }: ClusterView): string {
  return id === 0 ? '?' : String(id)
}

const linkPaint = {
  live: 'good',
  syncing: 'warn',
  remembered: 'warn',
  lost: 'warn',
  stale: 'bad',
  dropped: 'bad',
} as const

function linkText({ link }: ClusterView, { now }: Status, paint: Paint): string {
  const stale = link.staleAt === undefined ? '' : `, stale in ${span(link.staleAt - now)}`
  const drop = link.dropAt === undefined ? '' : `, dropped in ${span(link.dropAt - now)}`
  const state = link.state === 'remembered' ? 'from memory' : link.state
  const since = link.state === 'remembered' ? `, live ${span(now - link.since)} ago` : ` ${span(now - link.since)}`
  return `${paint(linkPaint[link.state], state)}${since}${stale}${drop}`
}

function changedText({ changedAt }: ClusterView, { now }: Status): string {
  return changedAt === undefined ? 'never' : `${span(now - changedAt)} ago`
}

function problems({ problems }: Status, paint: Paint, width: number | undefined): string {
  if (problems.length === 0) return ''
  const errors = problems.filter(({ severity }) => severity === 'error').length
  const counts = [
    errors > 0 ? count(errors, 'error') : [],
    problems.length > errors ? count(problems.length - errors, 'warning') : [],
  ]
  const list = problems.map(
    ({ severity, code, where, message }) =>
      `  ${paint(severity === 'error' ? 'bad' : 'warn', severity)}  ${code}  ${where}\n${wrapped(
        message,
        (width ?? Number.POSITIVE_INFINITY) - 4,
      )
        .map(line => `    ${line}\n`)
        .join('')}`,
  )
  return `${counts.flat().join(', ')}:\n${list.join('')}`
}

function usage({ namespace, name, backends }: ServiceView, cluster: string): string[] {
  const here = backends.filter(b => b.cluster === cluster)
  const healthy = (b: BackendView) => b.state === 'active' && (b.health === 'up' || b.health === 'unknown')
  const counts = [here, here.filter(healthy), here.filter(b => b.selected)].map(list => String(list.length))
  return [`${namespace}/${name}`, ...counts]
}
