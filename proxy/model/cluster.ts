import type { MeshError } from './error.ts'

/** One cluster of the mesh as the configuration names it. */
export interface Cluster {
  /** 1..32 characters of [a-z0-9-], alphanumeric at both ends (Cilium's rule). */
  readonly name: string
  /** 1..255, unique in the mesh; 0 for one whose number only it can say. */
  readonly id: number
  readonly local: boolean
  readonly tenant?: string
}

/**
 * How Starlane stands to a cluster's source. `lost` keeps the last known services until `staleAt`; `stale` has given
 * them up. Times are wall-clock milliseconds; `staleAt` is undefined when the configuration keeps them for ever.
 */
export type Link =
  | { readonly state: 'syncing'; readonly since: number }
  | { readonly state: 'live'; readonly since: number }
  | { readonly state: 'lost'; readonly since: number; readonly error: MeshError; readonly staleAt?: number }
  | { readonly state: 'stale'; readonly since: number; readonly error: MeshError }

const namePattern = /^([a-z0-9][-a-z0-9]*)?[a-z0-9]$/

export function isClusterName(text: string): boolean {
  return text.length <= 32 && namePattern.test(text)
}

/** The name of the cluster that one tenant's readers see in place of `cluster`. Two hyphens make a clash with a real name unlikely. */
export function viewName(cluster: string, tenant: string): string {
  return `${viewsOf(cluster)}${tenant}`
}

/** The prefix of the names of all views of a cluster. */
export function viewsOf(cluster: string): string {
  return `${cluster}--`
}
