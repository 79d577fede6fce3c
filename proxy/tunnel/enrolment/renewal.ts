/** Renews the certificate of a folder while it is in use, when less than a third of its life is left. */
import { join } from 'node:path'
import { messageOf, type Problem } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import type { Clock, Random } from '../../model/time/clock.ts'
import type { Credentials } from '../certificates/credentials.ts'
import { type Home, homeOf, install, newRequest, renew } from './ask.ts'
import type { Issuer } from './issuer.ts'

export interface RenewalParts {
  readonly folder: string
  readonly credentials: Credentials
  /** Where this process has the authority itself. */
  readonly issuer: Issuer | undefined
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

const dueAt = 1 / 3
/** Looks so often, give or take a half, so that proxies that were started together do not ask together. */
const lookMs = 60_000

export class Renewal {
  readonly #parts: RenewalParts
  #cancel: () => void = () => {}
  #failure: string | undefined
  #closed = false

  constructor(parts: RenewalParts) {
    this.#parts = parts
    void this.look()
  }

  problems(): Problem[] {
    const where = join(this.#parts.folder, 'tls.crt')
    if (this.#failure === undefined) return []
    return [{ code: 'CERTIFICATE', where, message: `the certificate is not renewed: ${this.#failure}` }]
  }

  close(): void {
    this.#closed = true
    this.#cancel()
  }

  /** Renews it if that is due. Never rejects. */
  async look(): Promise<void> {
    this.#cancel()
    const { folder, credentials, clock, random, log } = this.#parts
    try {
      const { leaf } = credentials.material ?? {}
      const at = await this.#home()
      if (leaf && at !== undefined) {
        const [from, to] = [leaf.validFromDate.getTime(), leaf.validToDate.getTime()]
        if (to - clock.wall() < (to - from) * dueAt) await this.#renew(at)
        this.#failure = undefined
      }
    } catch (error) {
      const why = messageOf(error)
      if (why !== this.#failure) log.warn('certificate.renewal-failed', { folder, why })
      this.#failure = why
    }
    if (!this.#closed) this.#cancel = clock.after(lookMs * (0.5 + random()), () => void this.look())
  }

  async #home(): Promise<Home | 'here' | undefined> {
    const at = await homeOf(this.#parts.folder)
    return at ?? (this.#parts.issuer ? 'here' : undefined)
  }

  async #renew(at: Home | 'here'): Promise<void> {
    const { folder, credentials, issuer, log } = this.#parts
    if (at !== 'here') await renew(folder, at)
    else {
      const { material } = credentials
      if (!issuer || !material) return
      const signed = await issuer.renew(material.leaf, material.id.id, await newRequest(folder))
      // A certificate of another authority is renewed by whoever has issued it.
      if ('why' in signed) return
      await install(folder, signed)
    }
    await credentials.reread()
    log.info('certificate.renewed', { folder, validTo: credentials.material?.leaf.validTo })
  }
}
