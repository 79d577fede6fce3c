/** Writes kubeconfig files for tests. */
import { writeFileSync } from 'node:fs'

export interface Entry {
  /** Of the cluster, the user and the context alike. */
  readonly name: string
  readonly server: string
  readonly ca?: string
  readonly user?: Readonly<Record<string, unknown>>
  readonly cluster?: Readonly<Record<string, unknown>>
}

/** A kubeconfig with one context for each entry, the first being the current one. JSON, which is YAML too. */
export function kubeconfigText(entries: readonly Entry[]): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': entries[0]?.name,
    clusters: entries.map(({ name, server, ca, cluster }) => ({
      name,
      cluster: { server, ...(ca !== undefined && { 'certificate-authority-data': base64(ca) }), ...cluster },
    })),
    users: entries.map(({ name, user = {} }) => ({ name, user })),
    contexts: entries.map(({ name }) => ({ name, context: { cluster: name, user: name } })),
  })
}

export function writeKubeconfig(file: string, entries: readonly Entry[]): void {
  writeFileSync(file, kubeconfigText(entries), { mode: 0o600 })
}

export function base64(text: string): string {
  return Buffer.from(text).toString('base64')
}
