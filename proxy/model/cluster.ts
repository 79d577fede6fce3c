/** A cluster of the mesh, and the state of the link to its source. */
import type { MeshError } from './error.ts'

/** One cluster of the mesh as the configuration names it. */
export interface Cluster {
  /** 1..32 characters of [a-z0-9-], alphanumeric at both ends (Cilium's rule). */
  readonly name: string
  /** 1..511, unique in the mesh; 0 until the source has reported it. */
  readonly id: number
  readonly local: boolean
  readonly tenant?: string
  /** Which namespaces may have global services: all that are not marked otherwise (the default), or only those marked. */
  readonly globalNamespaces?: 'all' | 'marked'
}

/**
 * The state of the link to a cluster's source. `lost` keeps the last known services until `staleAt`; `stale` has dropped them.
 * Times are wall-clock milliseconds; `staleAt` is undefined if the configuration keeps services forever.
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

/** The name of the cluster that readers of a tenant see instead of `cluster`. The two hyphens make a clash with a real name unlikely. */
export function viewName(cluster: string, tenant: string): string {
  return `${viewsOf(cluster)}${tenant}`
}

/** The prefix of the names of all views of a cluster. */
export function viewsOf(cluster: string): string {
  return `${cluster}--`
}
