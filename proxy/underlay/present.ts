/** What this machine has now, from the JSON of iproute2. */
import { parseCidr } from '../model/address.ts'
import type { EncapsulatingDevice, Encapsulation, Forwarding, LocalLink, Neighbour, Route } from './plan.ts'
import type { WireguardState } from './wireguard/state.ts'

/** `ip route` shows it; neither a routing daemon nor a CNI uses this number (/etc/iproute2/rt_protos). */
export const routeProtocol = 171

/** The alias of the device, by which a later process knows that it is ours. */
export const deviceAlias = 'starlane-underlay'

export interface PresentRoute extends Route {
  /** A number of /etc/iproute2/rt_protos. */
  readonly protocol: string
}

export interface PresentDevice extends Omit<EncapsulatingDevice, 'kind'> {
  /** As iproute2 names it: vxlan, geneve, wireguard; tun, where a program carries WireGuard. */
  readonly kind: string
  readonly isOurs: boolean
  readonly isUp: boolean
  readonly learns: boolean
  /** Routes say what its packets are put into. */
  readonly isExternal: boolean
  /** What `wg` says, of a device that carries WireGuard. */
  readonly wireguard: WireguardState | undefined
}

export interface Present {
  readonly links: readonly LocalLink[]
  /** The device of that name, if there is one. */
  readonly device: PresentDevice | undefined
  /** Other devices of ours, from a time when another name was configured. */
  readonly formerDevices: readonly string[]
  readonly neighbours: readonly Neighbour[]
  readonly forwarding: readonly Forwarding[]
  /** Those of Starlane. */
  readonly routes: readonly Route[]
  /** Those of others in the main table, by network, without default routes. */
  readonly foreign: ReadonlyMap<string, PresentRoute>
}

/** Runs `ip` or `bridge` with these arguments and returns what it printed, parsed. */
export type Query = (program: 'ip' | 'bridge', args: readonly string[]) => Promise<unknown>

interface ShownLink {
  readonly ifname?: string
  readonly mtu?: number
  readonly address?: string
  readonly flags?: readonly string[]
  readonly ifalias?: string
  readonly addr_info?: readonly { readonly local?: string; readonly prefixlen?: number; readonly scope?: string }[]
  readonly linkinfo?: {
    readonly info_kind?: string
    readonly info_data?: {
      readonly id?: number
      readonly local?: string
      readonly local6?: string
      readonly port?: number
      readonly learning?: boolean
      readonly external?: boolean
    }
  }
}

interface ShownRoute {
  readonly dst?: string
  readonly gateway?: string
  readonly dev?: string
  readonly protocol?: string
  /** `ip`, `ip6`; then `id`, `src` and `within` are of the packet around it. */
  readonly encap?: string
  readonly id?: number
  readonly src?: string
  readonly within?: string
}

/** Undefined for a device that carries no WireGuard. */
export type ShowWireguard = (name: string) => Promise<WireguardState | undefined>

export async function readPresent(query: Query, name: string, showWireguard: ShowWireguard): Promise<Present> {
  const [links, v4, v6] = await Promise.all([
    query('ip', ['-d', 'addr', 'show']),
    query('ip', ['-N', '-4', 'route', 'show', 'table', 'main']),
    query('ip', ['-N', '-6', 'route', 'show', 'table', 'main']),
  ])
  const shown = links as readonly ShownLink[]
  const device = shown.find(({ ifname }) => ifname === name)
  const [neighbours, forwarding] = device
    ? await Promise.all([
        query('ip', ['neigh', 'show', 'dev', name, 'nud', 'permanent']),
        query('bridge', ['fdb', 'show', 'dev', name]),
      ])
    : [[], []]
  const routes = [...(v4 as ShownRoute[]), ...(v6 as ShownRoute[])].flatMap(routeOf)
  const isOurs = ({ protocol }: PresentRoute) => protocol === `${routeProtocol}`
  return {
    links: shown.flatMap(linkOf),
    device: device && deviceOf(device, name, carriesWireguard(device) ? await showWireguard(name) : undefined),
    formerDevices: shown.flatMap(link => (link.ifname !== name && isOwnDevice(link) ? (link.ifname ?? []) : [])),
    neighbours: (neighbours as { dst?: string; lladdr?: string }[]).flatMap(({ dst, lladdr }) =>
      dst !== undefined && lladdr !== undefined ? { address: dst, mac: lladdr } : [],
    ),
    forwarding: (forwarding as { mac?: string; dst?: string }[]).flatMap(({ mac, dst }) =>
      mac !== undefined && dst !== undefined ? { mac, node: dst } : [],
    ),
    routes: routes.filter(isOurs),
    foreign: new Map(routes.filter(route => !isOurs(route)).map(route => [route.cidr, route])),
  }
}

/** Without link-local addresses, which every link has. */
function linkOf({ ifname, mtu, addr_info: addresses = [] }: ShownLink): LocalLink[] {
  if (ifname === undefined || mtu === undefined) return []
  return [
    {
      name: ifname,
      mtu,
      addresses: addresses.flatMap(({ local, prefixlen, scope }) =>
        local !== undefined && prefixlen !== undefined && scope !== 'link' ? { address: local, bits: prefixlen } : [],
      ),
    },
  ]
}

function deviceOf(shown: ShownLink, name: string, wireguard: WireguardState | undefined): PresentDevice {
  const { info_data: data = {} } = shown.linkinfo ?? {}
  return {
    name,
    kind: shown.linkinfo?.info_kind ?? '',
    wireguard,
    isOurs: isOwnDevice(shown),
    isUp: shown.flags?.includes('UP') ?? false,
    learns: data.learning ?? true,
    isExternal: data.external ?? false,
    vni: data.id ?? 0,
    port: data.port ?? 0,
    local: data.local ?? data.local6 ?? '',
    mac: shown.address ?? '',
    mtu: shown.mtu ?? 0,
    addresses: linkOf(shown).flatMap(({ addresses }) => addresses.map(({ address, bits }) => `${address}/${bits}`)),
  }
}

function isOwnDevice({ ifalias, linkinfo }: ShownLink): boolean {
  return ifalias === deviceAlias && ['vxlan', 'geneve', ...wireguardKinds].includes(linkinfo?.info_kind ?? '')
}

const wireguardKinds = ['wireguard', 'tun']

function carriesWireguard(shown: ShownLink): boolean {
  return isOwnDevice(shown) && wireguardKinds.includes(shown.linkinfo?.info_kind ?? '')
}

/** Without default routes. One that names several ways has neither `via` nor `device`. */
function routeOf(shown: ShownRoute): PresentRoute[] {
  const { dst = '', gateway = '', dev = '', protocol = '' } = shown
  const cidr = parseCidr(dst)
  return cidr ? [{ cidr: cidr.text, via: gateway, device: dev, protocol, ...encapsulationOf(shown) }] : []
}

function encapsulationOf({ encap, id, src, within }: ShownRoute): { within?: Encapsulation } {
  const isIp = encap === 'ip' || encap === 'ip6'
  if (!isIp || id === undefined || src === undefined || within === undefined) return {}
  return { within: { vni: id, local: src, node: within } }
}

/**
 * JSON of iproute2 as text. A route with `encap` has two members `dst`, the network first and then the node that its packets are put into
 * packets to; the second one is named `within` here.
 */
export function parseShown(text: string): unknown {
  return text.trim() === '' ? [] : JSON.parse(text.replace(/("encap":"ip6?",[^{}[\]]*?)"dst":/g, '$1"within":'))
}
