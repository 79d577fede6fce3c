/** The certificates of one end as they are now: read from a folder, and again whenever a file in it changes. */
import { join } from 'node:path'
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls'
import { type FileWatch, watchFiles } from '../../clients/file-watch.ts'
import { MeshError, messageOf, type Problem } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import type { Clock } from '../../model/time/clock.ts'
import { allRoots, fileNames, filesOf, type Material, pemOf, readMaterial, rootsOf } from './material.ts'

export interface CredentialsParts {
  readonly folder: string
  /** The names of the clusters that may have roots of their own, as they are now. */
  readonly clusters: () => readonly string[]
  readonly clock: Clock
  readonly log: Log
}

/** What both ends demand: TLS 1.3 with the suites of a ztunnel, and HTTP/2. */
const tls = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256',
} as const satisfies SecureContextOptions

/** A certificate is reported when less than this part of its life is left. */
const lastPart = 1 / 5

export class Credentials {
  readonly #parts: CredentialsParts
  readonly #listeners = new Set<(material: Material) => void>()
  #material: Material | undefined
  #contexts = new Map<string, SecureContext>()
  #failure: MeshError | undefined
  #watch: FileWatch | undefined
  #reading: Promise<void> = Promise.resolve()
  /** The clusters whose roots were looked for. */
  #read: ReadonlySet<string> = new Set()

  constructor(parts: CredentialsParts) {
    this.#parts = parts
  }

  /** The last that could be read; undefined before the first. */
  get material(): Material | undefined {
    return this.#material
  }

  /** Reads the files, and follows them. Does not reject: what is wrong with them is a problem until they are good. */
  async start(): Promise<void> {
    const { folder, clusters, clock } = this.#parts
    this.#watch = watchFiles(
      () => filesOf(folder, clusters()),
      clock,
      () => void this.reread(),
    )
    await this.reread()
  }

  close(): void {
    this.#watch?.stop()
    this.#listeners.clear()
  }

  /** Called with the new material after each change. Returns a function that unsubscribes. */
  onChange(listener: (material: Material) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Reads the files again if one of these clusters was not known at the last reading. */
  async rereadFor(clusters: readonly string[]): Promise<void> {
    if (!clusters.some(cluster => !this.#read.has(cluster))) return
    this.#watch?.pathsChanged()
    await this.reread()
  }

  /** Reads the files again; one that is bad leaves the last good ones in use. */
  reread(): Promise<void> {
    this.#reading = this.#reading.then(() => this.#readAll())
    return this.#reading
  }

  /** For dialling gateways of one cluster. Made once for each cluster and change. */
  contextFor(cluster: string): SecureContext | undefined {
    const material = this.#material
    if (!material) return undefined
    const known = this.#contexts.get(cluster)
    if (known) return known
    const made = createSecureContext(optionsOf(material, pemOf(rootsOf(material, cluster))))
    this.#contexts.set(cluster, made)
    return made
  }

  /** For a gateway, whose clients are of any cluster. */
  serverOptions(): SecureContextOptions | undefined {
    const material = this.#material
    return material && optionsOf(material, pemOf(allRoots(material)))
  }

  /** Whether there is a certificate, and it is valid now. */
  get isValid(): boolean {
    const { leaf } = this.#material ?? {}
    const now = this.#parts.clock.wall()
    return !!leaf && !this.#failure && leaf.validFromDate.getTime() <= now && now <= leaf.validToDate.getTime()
  }

  problems(): Problem[] {
    const where = join(this.#parts.folder, fileNames.cert)
    if (this.#failure) return [{ code: 'CERTIFICATE', where: this.#parts.folder, message: this.#failure.message }]
    const now = this.#parts.clock.wall()
    const validity = this.#material && validityProblem(this.#material, now)
    const problems: Problem[] = validity === undefined ? [] : [{ code: 'CERTIFICATE', where, message: validity }]
    const { listsUntil = now } = this.#material ?? {}
    if (listsUntil < now) {
      const message = `a revocation list should have been replaced on ${new Date(listsUntil).toISOString()}; it still counts, but newer revocations are not known`
      problems.push({ code: 'CERTIFICATE', where: join(this.#parts.folder, fileNames.lists), message })
    }
    return problems
  }

  async #readAll(): Promise<void> {
    const { folder, clusters, log } = this.#parts
    try {
      const names = clusters()
      const material = await readMaterial(folder, names)
      this.#read = new Set(names)
      const isFirst = this.#material === undefined
      this.#material = material
      this.#contexts = new Map()
      this.#failure = undefined
      const { validTo } = material.leaf
      log.info(isFirst ? 'certificate.read' : 'certificate.rotated', { folder, id: material.id.id, validTo })
      for (const listener of this.#listeners) listener(material)
    } catch (error) {
      const failure = error instanceof MeshError ? error : new MeshError('CERTIFICATE', messageOf(error))
      if (failure.message !== this.#failure?.message) log.warn('certificate.unusable', { why: failure.message })
      this.#failure = failure
    }
  }
}

function optionsOf({ cert, key }: Material, ca: string[]): SecureContextOptions {
  return { ...tls, cert, key, ca }
}

function validityProblem({ leaf, id }: Material, now: number): string | undefined {
  const [from, to] = [leaf.validFromDate.getTime(), leaf.validToDate.getTime()]
  if (now > to) return `the certificate ${id.id} expired on ${leaf.validTo}; other clusters refuse it`
  if (now < from) return `the certificate ${id.id} is not valid before ${leaf.validFrom}; is the clock right?`
  return to - now < (to - from) * lastPart
    ? `the certificate ${id.id} expires on ${leaf.validTo}; replace it`
    : undefined
}
