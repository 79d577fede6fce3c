/**
 * Who is at the other end of a tunnel: SPIFFE ids, and the cluster that each of them stands for.
 *
 * The ids of Starlane are `spiffe://TRUST_DOMAIN/ns/CLUSTER/sa/gateway` and `…/sa/proxy`: Istio's form, which is the only one that a
 * ztunnel accepts, with the name of the cluster in the place of the namespace.
 */

/** What a certificate has proved. */
export interface PeerIdentity {
  /** The SPIFFE id, as the certificate has it. */
  readonly id: string
  readonly trustDomain: string
  /** The cluster that it speaks for. */
  readonly cluster: string
}

/** The two parts of a SPIFFE id (SPIFFE-ID 2). */
export interface SpiffeId {
  readonly id: string
  readonly trustDomain: string
  /** Begins with a slash. */
  readonly path: string
}

/** `gateway` ids may serve a cluster's backends to others; `proxy` ids only use those of others. */
export type Role = 'gateway' | 'proxy'

/** Which ids stand for a cluster. */
export interface ClusterIdentity {
  readonly cluster: string
  readonly trustDomain: string
  /** Instead of the ids that follow from the name. Each may both serve and use. */
  readonly ids: readonly string[]
  /**
   * Its gateways carry double HBONE: the bytes of a stream are a tunnel of their own to a workload. The ids are those that workloads
   * may have. Undefined for plain HBONE.
   */
  readonly workloads?: readonly string[] | undefined
}

/** Undefined unless it is a SPIFFE id with a path (SPIFFE-ID 2.1 to 2.4: no port, no query, no empty or relative segment). */
export function parseSpiffeId(text: string): SpiffeId | undefined {
  const match = /^spiffe:\/\/([a-z0-9._-]{1,255})((?:\/[A-Za-z0-9._-]+)+)$/.exec(text)
  const [, trustDomain, path] = match ?? []
  if (trustDomain === undefined || path === undefined || text.length > 2048) return undefined
  if (path.split('/').some(segment => segment === '.' || segment === '..')) return undefined
  return { id: text, trustDomain, path }
}

export function isTrustDomain(text: string): boolean {
  return /^[a-z0-9._-]{1,255}$/.test(text)
}

/** The id of Starlane in a cluster. */
export function starlaneId(trustDomain: string, cluster: string, role: Role): string {
  return `spiffe://${trustDomain}/ns/${cluster}/sa/${role}`
}

/** The cluster that may use other clusters' services with this id, or why there is none. */
export function clusterOf(id: SpiffeId, clusters: readonly ClusterIdentity[]): PeerIdentity | { readonly why: string } {
  const found = clusters.find(one => one.ids.includes(id.id) || (one.ids.length === 0 && isOwn(id, one)))
  if (found) return { id: id.id, trustDomain: id.trustDomain, cluster: found.cluster }
  const domains = [...new Set(clusters.map(({ trustDomain }) => trustDomain))]
  if (!domains.includes(id.trustDomain)) return { why: wrongDomain(id, domains) }
  return { why: `it is of the wrong cluster: ${id.id} stands for no cluster of this mesh` }
}

/** Whether a gateway of this cluster may have this id; if not, why. */
export function gatewayOf(id: SpiffeId, expected: ClusterIdentity): PeerIdentity | { readonly why: string } {
  const { cluster, trustDomain, ids } = expected
  const wanted = ids.length > 0 ? ids : [starlaneId(trustDomain, cluster, 'gateway')]
  if (wanted.includes(id.id)) return { id: id.id, trustDomain: id.trustDomain, cluster }
  if (ids.length === 0 && id.trustDomain !== trustDomain) return { why: wrongDomain(id, [trustDomain]) }
  return { why: `it is of the wrong cluster: a gateway of ${cluster} has ${wanted.join(' or ')}` }
}

function isOwn({ id }: SpiffeId, { trustDomain, cluster }: ClusterIdentity): boolean {
  return id === starlaneId(trustDomain, cluster, 'gateway') || id === starlaneId(trustDomain, cluster, 'proxy')
}

function wrongDomain({ trustDomain }: SpiffeId, expected: readonly string[]): string {
  return `it is of the wrong trust domain: ${trustDomain}, and not ${expected.join(' or ') || 'any that is known here'}`
}
