/** The JSON of the admin API (`/v1/...`), which the commands print. Times are wall-clock milliseconds. */
import type { Protocol } from './address.ts'
import type { BackendState, Health } from './backend.ts'
import type { Link } from './cluster.ts'
import type { Problem, Severity } from './error.ts'
import type { Json } from './text/json.ts'

export interface Status {
  readonly version: string
  /** The local cluster. */
  readonly cluster: string
  readonly startedAt: number
  readonly now: number
  /** True once sources, DNS and listeners are up, until one of them fails or the shutdown begins. */
  readonly ready: boolean
  /** True after a stop was requested: new flows are refused, those in progress may end. */
  readonly stopping: boolean
  /** What is not up, unless `ready`; while stopping, what has not ended yet. */
  readonly waiting: readonly string[]
  /** The address of the responder, and the zones that it answers itself. */
  readonly dns: {
    readonly address: string
    /** False if the address cannot be bound. */
    readonly listening: boolean
    readonly domain: string
    readonly clusterset: string
  }
  readonly components: readonly ComponentView[]
  /** Undefined if nothing is published. */
  readonly publisher?: PublisherView
  /** Undefined if this is no gateway. */
  readonly gateway?: GatewayView
  /** Undefined if `underlay.mode` is none. */
  readonly underlay?: UnderlayView
  readonly clusters: readonly ClusterView[]
  readonly plugins: readonly PluginView[]
  readonly services: {
    readonly total: number
    /** No client can reach them. */
    readonly unreachable: number
    /** Some of their backends are down or ejected. */
    readonly reduced: number
    /** Without backends in any cluster. */
    readonly empty: number
  }
  /** Errors first. */
  readonly problems: readonly ProblemView[]
}

export interface ProblemView extends Problem {
  readonly severity: Severity
}

/** One line of `starlane status`. `detail` says what is wrong. */
export interface ComponentView {
  readonly name:
    | 'Sources'
    | 'DNS'
    | 'Proxy'
    | 'Offload'
    | 'Health'
    | 'Plugins'
    | 'Publisher'
    | 'Tunnels'
    | 'Gateway'
    | 'Underlay'
  readonly state: 'ok' | 'warning' | 'error' | 'disabled'
  readonly detail: string
}

export interface ClusterView {
  readonly name: string
  /** 0 for a cluster found in a folder until its ID is known. */
  readonly id: number
  readonly local: boolean
  readonly tenant?: string
  /** `manifests conf/demo/cluster-1` */
  readonly source: string
  readonly link: {
    readonly state: Link['state']
    readonly since: number
    readonly error?: string
    readonly staleAt?: number
    readonly dropAt?: number
  }
  /** The ways to its gateways; undefined if it is reached directly. */
  readonly tunnels?: readonly TunnelView[]
  readonly services: number
  readonly globalServices: number
  readonly backends: number
  /** Known only to some sources. */
  readonly nodes?: number
  readonly serviceExports?: number
  /** When the source last reported a change; undefined before the first one. */
  readonly changedAt?: number
}

/** The state of publishing the local cluster, and copies of others, to etcd. */
export interface PublisherView {
  /** The etcd servers. */
  readonly where: string
  /** `standby`: another process of this cluster writes. */
  readonly state: 'connecting' | 'standby' | 'publishing' | 'lost'
  readonly since: number
  readonly error?: string
  readonly services: number
  /** Keys still to be written. */
  readonly pending: number
  readonly copies: readonly {
    readonly cluster: string
    /** `drained`: its services were dropped, because it was lost for too long. `leaving`: it is no longer configured. */
    readonly state: 'syncing' | 'live' | 'lost' | 'drained' | 'leaving'
    readonly records: number
    readonly pending: number
    readonly error?: string
  }[]
}

/** The way to one gateway of another cluster. */
export interface TunnelView {
  /** `gw.example:15008` */
  readonly gateway: string
  /** `suspect`: silent for so long that new connections go elsewhere. */
  readonly state: 'open' | 'connecting' | 'suspect' | 'lost'
  readonly since: number
  readonly error?: string
  readonly tunnels: number
  readonly streams: number
  /** Of the last ping. */
  readonly roundTripMs?: number
  /** The gateway's certificate: its id, and wall-clock milliseconds of its end. */
  readonly certificate?: { readonly id: string; readonly validTo: number }
}

/** The gateway of this cluster. */
export interface GatewayView {
  /** Undefined while it does not listen. */
  readonly address?: string
  readonly error?: string
  readonly sessions: number
  readonly streams: number
  /** Connections refused since the start, by certificate or limit. */
  readonly refused: number
  /** The clusters that are connected now. */
  readonly clusters: readonly { readonly cluster: string; readonly sessions: number; readonly streams: number }[]
}

/** How this node reaches the pods of other nodes. */
export interface UnderlayView {
  readonly mode: 'vxlan' | 'geneve' | 'direct' | 'wireguard'
  /** `cluster-1/node-a`; undefined until the nodes are known. */
  readonly node?: string
  readonly device?: string
  /** Of the device, in bytes. */
  readonly mtu?: number
  readonly peers: readonly {
    readonly cluster: string
    readonly node: string
    readonly address: string
    readonly networks: readonly string[]
    /** The largest packet that should arrive there, in bytes. */
    readonly mtu: number
    /** `narrow`: packets as large as the MTU do not arrive. `unknown`: not asked yet. */
    readonly state: 'unknown' | 'reached' | 'narrow' | 'silent'
    /** Of the last probe. */
    readonly roundTripMs?: number
  }[]
  /** Nodes or pod networks that are not reached. */
  readonly leftOut: readonly { readonly node: string; readonly why: string }[]
}

/** One row of the resolved chain. */
export interface PluginView {
  readonly name: string
  /** `built-in`, or where it was loaded from. */
  readonly from: string
  readonly hooks: readonly string[]
  readonly onError: 'refuse' | 'skip'
  readonly state?: Json
}

/** Whether clients can reach a service through its frontends in this cluster. */
export interface ServiceCondition {
  /** `none`: it has no frontends here. `empty`: it has no backends. */
  readonly state: 'ok' | 'reduced' | 'unreachable' | 'empty' | 'none'
  readonly why?: string
}

export interface ServiceView {
  readonly namespace: string
  readonly name: string
  readonly condition: ServiceCondition
  readonly settings: {
    readonly global: boolean
    readonly shared: boolean
    readonly affinity: string
    readonly clusterOrder?: readonly string[]
    readonly minHealthyLocal?: Json
    readonly clusterWeights?: Readonly<Record<string, number>>
    readonly sessionAffinityMs?: number
    readonly trafficDistribution?: string
  }
  readonly headless: boolean
  /** The target of a Service of `type: ExternalName`. */
  readonly externalName?: string
  /** Its label `service.kubernetes.io/service-proxy-name`, if it has one. */
  readonly proxyName?: string
  readonly frontends: readonly {
    readonly ip: string
    readonly port: number
    readonly protocol: Protocol
    readonly name: string
    /** The port of the Service, where another one is listened on (`proxy.vips.ports`). */
    readonly declared?: number
    /** Connections are refused (ECONNREFUSED, ICMP port unreachable), since no backend could be chosen for any client. */
    readonly refusing?: true
  }[]
  readonly backends: readonly BackendView[]
  readonly changedAt: number
}

export interface BackendView {
  readonly cluster: string
  readonly address: string
  readonly port: number
  readonly protocol: Protocol
  readonly ports: readonly string[]
  readonly state: BackendState
  readonly health: Health
  /** Whether new flows may go there now. */
  readonly selected: boolean
  readonly weight: number
  readonly node?: string
  readonly zone?: string
  /** Why its last check failed, or it was ejected. */
  readonly lastError?: string
  /** What plugins have to say about it, by the name of the plugin; `tunnel`: the way through its cluster's gateways;
   *  `checks`: others are preferred until they have a verdict. */
  readonly notes?: Readonly<Record<string, BackendNote>>
}

/** What one plugin has to say about one backend. */
export interface BackendNote {
  /** In a word, like `open`. */
  readonly state: string
  readonly detail?: string
}

/** How a backend is chosen for one client, for each frontend. */
export interface Explanation {
  readonly namespace: string
  readonly name: string
  readonly client: string
  /** Backends that the chain never sees: not global, not shared, other port, maintenance. */
  readonly before: readonly Removal[]
  readonly frontends: readonly {
    readonly frontend: string
    readonly steps: readonly { readonly step: string; readonly left: number; readonly removed: readonly Removal[] }[]
    readonly candidates: readonly string[]
    /** Of candidates that are used only because no better one is left: why. By their keys. */
    readonly doubts?: Readonly<Record<string, string>>
    /** Of candidates behind the underlay: the node that leads to them, and whether it is reached. By their keys. */
    readonly ways?: Readonly<Record<string, string>>
    /** The plugin that picks, or `balancer`; the code of the refusal if there is one. */
    readonly decidedBy: string
    /** With `proxy.offload`: where the kernel leads clients, and what that means or why. */
    readonly offload?: string
    readonly refusal?: { readonly code: string; readonly why: string }
    /** Where a flow goes if its attempts fail one after the other, each at the first candidate. */
    readonly retries: readonly {
      /** 2 for the second attempt. */
      readonly attempt: number
      /** The backend of the attempt before. */
      readonly failed: string
      readonly candidates: readonly string[]
      /** Whether it leaves a cluster or zone because attempts there have failed. */
      readonly moved: boolean
      readonly refusal?: { readonly code: string; readonly why: string }
    }[]
  }[]
}

/** The answer that a client gets for a name, and how it was made. Records are in zone file format. */
export interface NameExplanation {
  readonly name: string
  readonly type: string
  readonly client: string
  /** `NOERROR`, `NXDOMAIN`, … */
  readonly rcode: string
  /** From our own zones. */
  readonly authoritative: boolean
  readonly answers: readonly string[]
  readonly authority: readonly string[]
  readonly additional: readonly string[]
  /** The steps, in order: zone, services, plugins that hide them, cache, resolvers. */
  readonly way: readonly string[]
}

export interface Removal {
  readonly backend: string
  readonly why: string
}
