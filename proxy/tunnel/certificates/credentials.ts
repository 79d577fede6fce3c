/** The certificates of one end as they are now: read from a folder, and again whenever a file in it changes, or given by a Workload API. */
import { dirname, join } from 'node:path'
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls'
import { type FileWatch, watchFiles } from '../../clients/file-watch.ts'
import { WorkloadApi } from '../../clients/spiffe/workload-api.ts'
import { MeshError, messageOf, type Problem } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import type { Clock, Random } from '../../model/time/clock.ts'
import { allRoots, fileNames, filesOf, type Material, pemOf, readMaterial, rootsOf } from './material.ts'
import { materialOf } from './svid.ts'

/** Where they come from. */
export type CredentialsSource =
  | { readonly folder: string }
  /** `workloadApi`: an endpoint. `id`: which identity to take; by default the first one. */
  | { readonly workloadApi: string; readonly id?: string | undefined }

export interface CredentialsParts {
  readonly from: CredentialsSource
  readonly random?: Random
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

/** A start waits no longer for a Workload API. */
const firstAnswerMs = 5000

/** A certificate is reported when less than this part of its life is left. */
const lastPart = 1 / 5

export class Credentials {
  readonly #parts: CredentialsParts
  readonly #where: string
  #api: WorkloadApi | undefined
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
    this.#where = 'folder' in parts.from ? join(parts.from.folder, fileNames.cert) : parts.from.workloadApi
  }

  /** The last that could be read; undefined before the first. */
  get material(): Material | undefined {
    return this.#material
  }

  /**
   * Reads the files, and follows them; or waits a few seconds for the Workload API. Does not reject: what is wrong with them is a
   * problem until they are good.
   */
  async start(): Promise<void> {
    const { from, clusters, clock } = this.#parts
    if ('workloadApi' in from) return this.#follow(from)
    const { folder } = from
    this.#watch = watchFiles(
      () => filesOf(folder, clusters()),
      clock,
      () => void this.reread(),
    )
    await this.reread()
  }

  close(): void {
    this.#watch?.stop()
    this.#api?.close()
    this.#listeners.clear()
  }

  /** Called with the new material after each change. Returns a function that unsubscribes. */
  onChange(listener: (material: Material) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Reads the files again if one of these clusters was not known at the last reading. */
  async rereadFor(clusters: readonly string[]): Promise<void> {
    if ('workloadApi' in this.#parts.from || !clusters.some(cluster => !this.#read.has(cluster))) return
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
    const made = createSecureContext(optionsOf(material, rootsFor(material, cluster)))
    this.#contexts.set(cluster, made)
    return made
  }

  /** The same in PEM, for who makes a context of its own: certificate, key, roots. */
  pemFor(cluster: string): { readonly cert: string; readonly key: string; readonly roots: string } | undefined {
    const material = this.#material
    if (!material) return undefined
    return { cert: material.cert, key: material.key, roots: rootsFor(material, cluster).join('\n') }
  }

  /** For a gateway, whose clients are of any cluster. */
  serverOptions(): SecureContextOptions | undefined {
    const material = this.#material
    return material && optionsOf(material, pemOf(allRoots(material)))
  }

  /** The same in PEM. */
  serverPem(): { readonly cert: string; readonly key: string; readonly roots: string } | undefined {
    const material = this.#material
    if (!material) return undefined
    return { cert: material.cert, key: material.key, roots: pemOf(allRoots(material)).join('\n') }
  }

  /** Whether there is a certificate, and it is valid now. */
  get isValid(): boolean {
    const { leaf } = this.#material ?? {}
    const now = this.#parts.clock.wall()
    return !!leaf && !this.#failure && leaf.validFromDate.getTime() <= now && now <= leaf.validToDate.getTime()
  }

  problems(): Problem[] {
    const where = this.#where
    if (this.#failure) return [{ code: 'CERTIFICATE', where, message: this.#failure.message }]
    const now = this.#parts.clock.wall()
    const validity = this.#material && validityProblem(this.#material, now)
    const problems: Problem[] = validity === undefined ? [] : [{ code: 'CERTIFICATE', where, message: validity }]
    const { listsUntil = now } = this.#material ?? {}
    if (listsUntil < now) {
      const message = `a revocation list should have been replaced on ${new Date(listsUntil).toISOString()}; it still counts, but newer revocations are not known`
      problems.push({ code: 'CERTIFICATE', where: join(dirname(where), fileNames.lists), message })
    }
    return problems
  }

  async #readAll(): Promise<void> {
    const { from, clusters } = this.#parts
    if (!('folder' in from)) return
    try {
      const names = clusters()
      const material = await readMaterial(from.folder, names)
      this.#read = new Set(names)
      this.#use(material)
    } catch (error) {
      this.#fail(error)
    }
  }

  /** Resolves with the first answer, or a while later without one. */
  async #follow({ workloadApi, id }: Extract<CredentialsSource, { workloadApi: string }>): Promise<void> {
    const { clock, random = Math.random } = this.#parts
    const answered = Promise.withResolvers<void>()
    const cancel = clock.after(firstAnswerMs, answered.resolve)
    this.#api = new WorkloadApi(
      { endpoint: workloadApi, clock, random },
      {
        told: response => {
          try {
            this.#use(materialOf(response, id))
          } catch (error) {
            this.#fail(error)
          }
          answered.resolve()
        },
        // What it has given stays in use while it is away.
        failed: error => {
          this.#fail(error)
          answered.resolve()
        },
      },
    )
    await answered.promise
    cancel()
  }

  #use(material: Material): void {
    const isFirst = this.#material === undefined
    this.#material = material
    this.#contexts = new Map()
    this.#failure = undefined
    const { validTo } = material.leaf
    const fields = { from: this.#where, id: material.id.id, validTo }
    this.#parts.log.info(isFirst ? 'certificate.read' : 'certificate.rotated', fields)
    for (const listener of this.#listeners) listener(material)
  }

  #fail(error: unknown): void {
    const failure = error instanceof MeshError ? error : new MeshError('CERTIFICATE', messageOf(error))
    if (failure.message !== this.#failure?.message)
      this.#parts.log.warn('certificate.unusable', { why: failure.message })
    this.#failure = failure
  }
}

/** In PEM. Which of the trust domains' roots count is decided by the id. */
function rootsFor(material: Material, cluster: string): string[] {
  return pemOf(material.domains ? allRoots(material) : rootsOf(material, cluster, ''))
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
