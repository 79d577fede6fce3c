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
  /** The network of its addresses. Absent: the one that all clusters share which are reached directly. */
  readonly network?: string
  /** True for one that is not in the list of the configuration, so has no place in its order. */
  readonly discovered?: boolean
  /** Which namespaces may have global services: all that are not marked otherwise (the default), or only those marked. */
  readonly globalNamespaces?: 'all' | 'marked'
}

/**
 * The state of the link to a cluster's source. `remembered`: its services are from memory, as an earlier process knew them at
 * `since`, and its source has not answered yet. `lost`: they are what it said last. From `staleAt` on it is `stale`: its backends are
 * demoted, used only where no other cluster has any. From `dropAt` on it is `dropped`: they are not used. Times are wall-clock
 * milliseconds; `staleAt` and `dropAt` are undefined where that never comes.
 */
export type Link =
  | { readonly state: 'syncing'; readonly since: number }
  | { readonly state: 'live'; readonly since: number }
  | { readonly state: 'remembered'; readonly since: number; readonly error?: MeshError; readonly staleAt?: number }
  | { readonly state: 'lost'; readonly since: number; readonly error: MeshError; readonly staleAt?: number }
  | { readonly state: 'stale'; readonly since: number; readonly error: MeshError; readonly dropAt?: number }
  | { readonly state: 'dropped'; readonly since: number; readonly error: MeshError }

/** In the order in which a cluster may pass through them. */
export const linkStates = [
  'syncing',
  'remembered',
  'live',
  'lost',
  'stale',
  'dropped',
] as const satisfies Link['state'][]

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

/** How much one cluster may take of this process: `clusters[].limits`. */
export interface Limits {
  /** Objects or keys. */
  readonly objects: number
  /** Bytes of all objects together, as the cluster sends them. */
  readonly bytes: number
  /** Bytes a second; a cluster that sends more waits. */
  readonly rate: number
  /** Endpoints of all services together; each is a backend that is checked. */
  readonly endpoints: number
  /** Endpoints of one service: it is merged as a whole, and again whenever one of them changes. */
  readonly serviceEndpoints: number
}

/** Fit 5,000 services with 100,000 endpoints. */
export const defaultLimits: Limits = {
  objects: 100_000,
  bytes: 96 << 20,
  rate: 32 << 20,
  endpoints: 120_000,
  serviceEndpoints: 10_000,
}

/** `over its limits: 7 endpoints, more than 5; …` */
export function overLimitsText(limit: keyof Limits, found: string): string {
  return `over its limits: ${found}; raise limits.${limit} of the cluster, or find out what fills it`
}
