/** Error codes and their meanings. `docs/errors.md` is written from this table. */
export const errorCodes = {
  CONF_FILE: 'the configuration file cannot be read or is not YAML',
  CONF_FIELD: 'a field of the configuration is unknown, missing or has a bad value',
  CONF_CLUSTER: 'the list of clusters contradicts itself: duplicate name or id, or the local one is missing',
  SOURCE_READ: 'a source cannot be read: file, folder, API or server',
  SOURCE_WRITE: 'an object or key cannot be written to the Kubernetes API or to etcd',
  SOURCE_OBJECT: 'one object of a source is not usable; the rest of the source is',
  SOURCE_LIMIT: 'a cluster takes more than its limits: objects, bytes or endpoints',
  ADDRESS_REFUSED:
    'a cluster names an address or a service that it may not, or an address of another cluster; it is left out, and the rest is used',
  CLUSTER_LOST: 'a cluster cannot be reached; what was last known of it is used until it is stale',
  CERTIFICATE_ENDS: 'a certificate has ended or ends within 14 days',
  SERVICE_UNREACHABLE: 'a service that no client can reach: all its backends are down, or none is ready',
  SERVICE_REDUCED: 'a service some of whose backends are down, or that has none',
  SERVICE_ANNOTATION: 'an annotation of a service has a value that means nothing, or a name like one that is read',
  PUBLISH: 'the local cluster, or one of its services, cannot be written to the etcd of the mesh',
  MERGE_OVERLAP: 'two services claim the same frontend',
  EXPORT_PORTS: 'other clusters export ports of a service that the local cluster does not declare',
  VIP_RANGE: 'the range for virtual addresses is too small or collides with another',
  STATE: 'the last known state cannot be kept, read or handed over',
  LISTEN: 'a socket cannot be bound',
  NFTABLES: 'the packet rules of `proxy.nftables` cannot be set',
  OFFLOAD: 'the kernel does not steer clients as `proxy.offload` asks, or less well',
  CERTIFICATE: 'a certificate, key or root of a tunnel cannot be used, or expires soon',
  TUNNEL: 'a gateway cannot be reached, or one side refuses the certificate of the other',
  LOOP: 'a backend is a frontend of another proxy that sends flows back to this Starlane',
  UNDERLAY: 'the devices and routes between the pods of nodes cannot be worked out or set',
  EXPOSED: 'another socket of this machine can be reached on the address of a frontend',
  PLUGIN_LOAD: 'a plugin cannot be found, imported or created',
  PLUGIN_OPTION: 'an option of a plugin is unknown or has a bad value',
  PLUGIN_FAULT: 'a hook of a plugin threw, returned a promise, broke a law of the plugin API, or held up the process',
  PLUGIN_FINDING:
    'what a plugin has found in the objects that it reads, such as a rule of a policy that it cannot decide',
  DNS_UPSTREAM: 'no upstream resolver answers',
  RECORDER_FILE: 'recorded flows cannot be written to the file of `recorder.file`',
  ADMIN_UNREACHABLE: 'the admin address of a running Starlane does not answer',
  EXEC_NAMESPACE: 'the kernel gives `starlane exec` no mount namespace of its own',
  EXEC_NETWORK: '`starlane exec` cannot give a command a network of its own, or that network no way out',
  EXEC_DNS: '`starlane exec` cannot point a command at the DNS responder',
  USAGE: 'the command line cannot be understood',
} as const

export type ErrorCode = keyof typeof errorCodes

/** An error shown to people: the message says what was found, where, and how to fix it. */
export class MeshError extends Error {
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'MeshError'
    this.code = code
  }
}

/**
 * `error`: something does not work that clients or operators rely on; it decides exit codes. `warning`: something is reduced,
 * suspect or will fail, and clients are served.
 */
export type Severity = 'error' | 'warning'

/** A fault that does not stop the rest. Reported by sources, merge and listeners; `status` shows it until it is withdrawn. */
export interface Problem {
  readonly code: ErrorCode
  /** The place: `file:line`, `cluster namespace/name`, `127.0.0.1:80/TCP`. */
  readonly where: string
  /** What was found and how to fix it, in one sentence. */
  readonly message: string
  /** Where it is not that of its code. */
  readonly severity?: Severity
}

const errors: ReadonlySet<ErrorCode> = new Set([
  'CLUSTER_LOST',
  'SERVICE_UNREACHABLE',
  'LISTEN',
  'CONF_FILE',
  'PLUGIN_LOAD',
])

export function severityOf({ code, severity }: Problem): Severity {
  return severity ?? (errors.has(code) ? 'error' : 'warning')
}

const unreadable: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist',
  ENOTDIR: 'does not exist',
  EISDIR: 'is a folder; give a file in it',
  EACCES: 'may not be read by this user: change its owner or mode',
}

/** Why a file could not be read, to be written after its name. */
export function whyUnreadable(thrown: unknown): string {
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : ''
  return unreadable[code] ?? `cannot be read: ${messageOf(thrown)}`
}

/** The message of any thrown value, without its stack. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}
