/** What a test knows about an application: how its server starts, and how its clients use it. */
import type { Protocol } from '../../../../proxy/model/address.ts'
import type { Lines, RunOptions } from './processes.ts'

/** Where a server runs. */
export interface Pod {
  readonly name: string
  readonly ip: string
  /** A folder of its own, which any user may write to. */
  readonly folder: string
}

export interface Target {
  /** A name of the mesh, a ClusterIP, or the address of a pod. */
  readonly host: string
  readonly port: number
}

/** Where a client runs. */
export interface Place {
  run(command: readonly string[], options?: RunOptions): Promise<string>
  open(command: readonly string[]): Lines
}

/** A connection that stays. */
export interface Session {
  /** One exchange; resolves with the name of the pod that has answered. Rejects when the connection has ended. */
  use(timeoutMs?: number): Promise<string>
  close(): unknown
}

/** What an application's own checks may do: the mesh that it runs in, and the places of its clients. */
export interface Stage {
  /** Bytes of a large transfer, in each direction. */
  readonly bulkBytes: number
  /** For files of this run, and those of it that all pods share. */
  readonly folder: string
  readonly shared: string
  /** What clients of the service connect to. */
  readonly target: Target
  /** Where clients run; with `node-agent` on the node itself. */
  readonly place: Place
  /** Where clients run that stay; with `node-agent` in a pod behind the node. */
  readonly pod: Place
  /** Where the pods run: clients here see no Starlane. */
  readonly fabric: Place
  /** The pods of the endpoints, by name. */
  readonly pods: ReadonlyMap<string, { readonly pod: Pod }>
  /** Starts a pod. Clients learn of it by `declare`. */
  startPod(name: string, cluster: 1 | 2, ip?: string): Promise<void>
  /** The endpoints of both clusters, as they are from now on. */
  declare(states?: Readonly<Record<string, PodState>>): Promise<void>
  /** Waits until Starlane has what was declared of a pod. */
  knows(name: string, selected: boolean): Promise<void>
  /** Ends a pod as Kubernetes does. */
  endPod(name: string, graceMs?: number): Promise<void>
  /** Another configuration of `proxy` and SIGHUP; resolves when it is in use. */
  reload(options: object): Promise<void>
}

export type PodState = 'ready' | 'unready' | 'terminating'

export interface Application {
  readonly name: string
  /** The programs it needs. */
  readonly needs: readonly string[]
  /** What else is missing here. */
  missing?(): string | undefined
  readonly port: number
  readonly protocols: readonly Protocol[]
  /** Its client waits for its own timeout although the kernel says that nothing listens. */
  readonly ignoresRefusals?: boolean
  /** What asks a server to stop; SIGTERM unless given. */
  readonly stopSignal?: NodeJS.Signals
  /** Made once for all pods, in a folder; `server` finds it there. */
  prepare?(folder: string): Promise<void>
  /** The command that serves at `pod.ip` and `port`, in the foreground. */
  server(pod: Pod, shared: string): Promise<readonly string[]> | readonly string[]
  /** Called when the server accepts connections, before clients are sent there. */
  ready?(pod: Pod, place: Place): Promise<void>
  /** One use, by a connection of its own; resolves with the name of the pod. */
  once(place: Place, to: Target, shared: string): Promise<string>
  session?(place: Place, to: Target, stage: Stage): Promise<Session>
  /** What only this application does. Each throws what was wrong. */
  readonly own?: Readonly<Record<string, (stage: Stage) => Promise<void>>>
}
