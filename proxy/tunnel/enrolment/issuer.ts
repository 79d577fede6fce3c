/** Issues certificates at a gateway that has the authority: to the invited, and again to those who show one of its own. */
import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { readRegularText } from '../../model/text/regular-file.ts'
import type { Clock } from '../../model/time/clock.ts'
import { parseSpiffeId, type Role, starlaneId } from '../../model/tunnel/identity.ts'
import { sign, verifyRequest } from './authority.ts'
import { redeem } from './invitation.ts'

/** A certificate with the root that it leads to, in PEM. */
export interface Signed {
  readonly certificate: string
  readonly root: string
  readonly id: string
}

/** Why there is none; for the asker too. */
export interface Refused {
  readonly why: string
}

export class Issuer {
  readonly #folder: string
  readonly #clock: Clock

  /** `folder` holds `ca.crt` and `ca.key`. */
  constructor(folder: string, clock: Clock) {
    this.#folder = folder
    this.#clock = clock
  }

  /** For who has an invitation. Rejects for a request that is not good; such a request that cannot be signed does not use it up. */
  async enrol(id: string, secret: string, csr: string): Promise<Signed | Refused> {
    await verifyRequest(csr)
    const invited = await redeem(this.#folder, id, secret, this.#clock.wall())
    if (!invited) return { why: 'the token is unknown, was used, or has expired; ask for a new one' }
    const { cluster, role, trustDomain, days } = invited
    return this.#sign(csr, starlaneId(trustDomain, cluster, role), `${cluster} ${role}`, days)
  }

  /** For who shows a certificate of this authority: one for the same id and as long, and nothing else. */
  async renew(shown: X509Certificate, id: string, csr: string): Promise<Signed | Refused> {
    const root = new X509Certificate(await readRegularText(join(this.#folder, 'ca.crt')))
    if (!shown.checkIssued(root) || !shown.verify(root.publicKey))
      return { why: 'the certificate shown is not of this authority; enrol again' }
    const [, trustDomain = '', cluster = '', role] =
      /^spiffe:\/\/([^/]+)\/ns\/([^/]+)\/sa\/(gateway|proxy)$/.exec(id) ?? []
    if (!parseSpiffeId(id) || role === undefined) return { why: `${id} is not an id that is issued here` }
    const wanted = starlaneId(trustDomain, cluster, role as Role)
    const lifeMs = shown.validToDate.getTime() - shown.validFromDate.getTime()
    return this.#sign(csr, wanted, `${cluster} ${role}`, Math.max(1, Math.floor(lifeMs / dayMs)))
  }

  async #sign(csr: string, id: string, name: string, days: number): Promise<Signed> {
    const certificate = await sign({ file: join(this.#folder, 'ca') }, csr, { name, days, id })
    return { certificate, root: await readRegularText(join(this.#folder, 'ca.crt')), id }
  }
}

const dayMs = 24 * 3_600_000
