/**
 * Renews the bound token of a kubeconfig (TokenRequest API, KEP-1205) in the second half of its life. The new one is only written where
 * the kubeconfig is kept: whoever reads that file follows it, and goes on without a restart.
 */
import { parse } from 'yaml'
import { messageOf, type Problem } from '../../../model/error.ts'
import { isHalfOver, lifeOf, type TokenLife } from '../../../model/text/token-life.ts'
import type { KubernetesClient } from '../client.ts'
import type { KubernetesWorld } from '../connect.ts'
import type { TokenStore } from './token-stores.ts'

const everyMs = 60_000
const timeoutMs = 30_000
/** Of several processes, those that come later find that it was renewed: each waits for up to this part of the life more. */
const spread = 0.05

export interface TokenRenewalParts {
  readonly cluster: string
  readonly store: TokenStore
  /** Of the cluster that the token is for, with the token that is in use. */
  readonly client: KubernetesClient
  readonly world: KubernetesWorld
}

export class TokenRenewal {
  readonly #parts: TokenRenewalParts
  readonly #share: number
  readonly #stop = new AbortController()
  #ends: () => void = () => {}
  #running: Promise<void> = Promise.resolve()
  #isRunning = false
  #problem: Problem | undefined
  /** Of the token that was seen last: until its half nothing has to be read. */
  #life: TokenLife | undefined

  constructor(parts: TokenRenewalParts) {
    this.#parts = parts
    this.#share = parts.world.random() * spread
  }

  start(): void {
    this.#ends = this.#parts.world.clock.every(everyMs, () => this.#look())
    this.#look()
  }

  problem(): Problem | undefined {
    return this.#problem
  }

  async close(): Promise<void> {
    this.#ends()
    this.#stop.abort()
    await this.#running
    await this.#parts.client.close()
  }

  #look(): void {
    if (this.#isRunning || (this.#life && !this.#isDue(this.#life))) return
    this.#isRunning = true
    this.#running = this.#renew().finally(() => {
      this.#isRunning = false
    })
  }

  #isDue(life: TokenLife): boolean {
    return isHalfOver(life, this.#parts.world.clock.wall() - this.#share * (life.ends - life.issued))
  }

  async #renew(): Promise<void> {
    const { cluster, store, world } = this.#parts
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(timeoutMs)])
    try {
      const text = await store.read(signal)
      const token = tokenIn(text)
      this.#life = lifeOf(token)
      if (!this.#life?.account) throw new Error('it is not bound to a ServiceAccount, so it cannot be renewed')
      if (this.#isDue(this.#life)) {
        const fresh = await this.#request(this.#life, signal)
        const isWritten = await store.write(text.replaceAll(token, fresh), signal)
        this.#life = isWritten ? lifeOf(fresh) : undefined
        if (isWritten) world.log.info('kubernetes.token.renewed', { cluster, until: dayOf(lifeOf(fresh)) })
      }
      this.#problem = undefined
    } catch (error) {
      if (this.#stop.signal.aborted) return
      this.#report(messageOf(error))
    }
  }

  async #request({ account, issued, ends }: TokenLife, signal: AbortSignal): Promise<string> {
    const path = `/api/v1/namespaces/${account?.namespace}/serviceaccounts/${account?.name}/token`
    const expirationSeconds = Math.round((ends - issued) / 1000)
    const value = {
      ...{ apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest' },
      spec: { expirationSeconds },
    }
    const body = { type: 'application/json', value }
    const answer = (await this.#parts.client.json({ method: 'POST', path, body }, signal)) as {
      status?: { token?: string }
    }
    const token = answer.status?.token
    if (!token || !lifeOf(token)) throw new Error('the answer to the TokenRequest has no token')
    return token
  }

  #report(why: string): void {
    const { cluster, world } = this.#parts
    const until = this.#life ? `; the one in use ends on ${dayOf(this.#life)}` : ''
    const message = `its token cannot be renewed: ${why}${until}; run "starlane mesh connect" with both contexts`
    if (this.#problem?.message !== message) world.log.warn('kubernetes.token.failed', { cluster, why })
    this.#problem = { code: 'CERTIFICATE_ENDS', where: `cluster ${cluster}`, message }
  }
}

function tokenIn(kubeconfig: string): string {
  const token = parse(kubeconfig)?.users?.[0]?.user?.token
  if (typeof token === 'string' && token !== '') return token
  throw new Error('the kubeconfig has no token')
}

function dayOf(life: TokenLife | undefined): string {
  return life ? new Date(life.ends).toISOString().slice(0, 10) : ''
}
