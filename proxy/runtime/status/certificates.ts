/**
 * Certificates of the configuration that end soon: read from their files and kubeconfigs, once an hour. Those that a tunnel shows live
 * as short as their issuer likes, and are the concern of its credentials; its roots are here.
 */
import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { readClientFile } from '../../clients/etcd/client-file.ts'
import { accessOf } from '../../clients/kubernetes/kubeconfig.ts'
import { readKubeconfigs } from '../../clients/kubernetes/kubeconfig-files.ts'
import type { Config, SourceConfig } from '../../config/schema.ts'
import type { Problem } from '../../model/error.ts'
import { readRegularText } from '../../model/text/regular-file.ts'
import { fileNames, rootsFile } from '../../tunnel/certificates/material.ts'
import type { RuntimeContext } from '../context.ts'

const everyMs = 3_600_000
const dayMs = 86_400_000
export const soonDays = 14

interface Found {
  /** The file, or the context of a kubeconfig. */
  readonly where: string
  readonly subject: string
  readonly endsAt: number
}

export class Certificates {
  readonly #config: () => Config
  readonly #context: RuntimeContext
  #found: readonly Found[] = []
  #stop: () => void = () => {}

  constructor(config: () => Config, context: RuntimeContext) {
    this.#config = config
    this.#context = context
  }

  /** Resolves when they have been read once; what cannot be read is the concern of whoever uses it. */
  async start(): Promise<void> {
    this.#stop()
    this.#stop = this.#context.clock.every(everyMs, () => void this.#read())
    await this.#read()
  }

  problems(): Problem[] {
    const now = this.#context.clock.wall()
    return this.#found
      .filter(({ endsAt }) => endsAt < now + soonDays * dayMs)
      .map(({ where, subject, endsAt }) => ({
        code: 'CERTIFICATE_ENDS' as const,
        severity: endsAt <= now ? ('error' as const) : ('warning' as const),
        where,
        message: `the certificate of ${subject} ${endText(endsAt, now)}; renew it`,
      }))
  }

  close(): void {
    this.#stop()
  }

  async #read(): Promise<void> {
    const { clusters, publish, tunnel, gateway } = this.#config()
    const folders = [tunnel.certificates, gateway?.certificates].filter(folder => folder !== undefined)
    const roots = folders.flatMap(folder => [
      join(folder, fileNames.roots),
      ...clusters.map(({ name }) => rootsFile(folder, name)),
    ])
    const authority = gateway?.authority === undefined ? [] : [join(gateway.authority, fileNames.roots)]
    const lists = await Promise.all([
      ...clusters.map(({ source }) => this.#ofSource(source).catch(() => [])),
      this.#ofFiles([publish?.ca, publish?.cert, ...roots, ...authority]),
    ])
    this.#found = lists.flat().filter((found, i, all) => isLatest(found, i, all))
  }

  async #ofSource(source: SourceConfig): Promise<Found[]> {
    if ('etcd' in source) {
      const files = 'config' in source.etcd ? await readClientFile(source.etcd.config) : source.etcd
      return this.#ofFiles([files.ca, files.cert])
    }
    if (!('kubernetes' in source)) return []
    const { kubernetes } = source
    if ('inCluster' in kubernetes) return this.#ofFiles(['/var/run/secrets/kubernetes.io/serviceaccount/ca.crt'])
    const config = await readKubeconfigs(kubernetes.kubeconfig, this.#context.env)
    const { name, ca, certificate } = accessOf(config, kubernetes.context)
    const pems = [ca, certificate?.cert].flatMap(pem => pem ?? [])
    const found = await Promise.all(
      pems.map(async pem => ('data' in pem ? certificatesIn(pem.data, name) : this.#ofFiles([pem.file]))),
    )
    return found.flat()
  }

  async #ofFiles(files: readonly (string | undefined)[]): Promise<Found[]> {
    const found = files.map(async file => (file === undefined ? [] : certificatesIn(await readRegularText(file), file)))
    return (await Promise.all(found.map(list => list.catch(() => [])))).flat()
  }
}

/** While a root is replaced, the file has the next one too: then that one counts. A file that is named twice counts once. */
function isLatest({ where, subject, endsAt }: Found, i: number, all: readonly Found[]): boolean {
  const same = all.filter(other => other.where === where && other.subject === subject)
  return endsAt === Math.max(...same.map(other => other.endsAt)) && same.find(o => o.endsAt === endsAt) === all[i]
}

/** All certificates of a PEM text; what is none is left out. */
export function certificatesIn(pem: string, where: string): Found[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? []
  return blocks.flatMap(block => {
    try {
      const { subject, validToDate } = new X509Certificate(block)
      return [{ where, subject: subject.replaceAll('\n', ', '), endsAt: validToDate.getTime() }]
    } catch {
      return []
    }
  })
}

function endText(endsAt: number, now: number): string {
  const day = new Date(endsAt).toISOString().slice(0, 10)
  if (endsAt <= now) return `ended on ${day}`
  const days = Math.floor((endsAt - now) / dayMs)
  return `ends on ${day}, in ${days === 0 ? 'less than a day' : days === 1 ? '1 day' : `${days} days`}`
}
