/** Lists objects of an API server once, in pages, for commands. */
import { createKubernetesClient, kubernetesAccess } from '../../clients/kubernetes/connect.ts'
import { silentLog } from '../../model/log.ts'
import { systemClock } from '../../model/time/clock.ts'

const pageSize = 500
const timeoutMs = 30_000

export interface ConnectedClient {
  /** `context kind-1 of FILE` */
  readonly name: string
  readonly server: string
  /** All objects of a path. */
  list<T>(path: string, query?: Readonly<Record<string, string>>): Promise<T[]>
  close(): Promise<void>
}

export async function connectToRead({
  kubeconfig,
  context,
  env,
}: {
  readonly kubeconfig?: string | undefined
  readonly context?: string | undefined
  readonly env: Readonly<Record<string, string | undefined>>
}): Promise<ConnectedClient> {
  const login = { kubeconfig, context }
  const { name, server } = await kubernetesAccess(login, env)
  const client = createKubernetesClient(login, { clock: systemClock, random: Math.random, log: silentLog, env })
  const signal = AbortSignal.timeout(timeoutMs)
  return {
    name,
    server,
    async list<T>(path: string, query: Readonly<Record<string, string>> = {}) {
      const found: T[] = []
      let rest = ''
      do {
        const page = { ...query, limit: String(pageSize), ...(rest === '' ? {} : { continue: rest }) }
        const answer = (await client.json({ path, query: page }, signal)) as {
          items?: T[]
          metadata?: { continue?: string }
        }
        found.push(...(answer.items ?? []))
        rest = answer.metadata?.continue ?? ''
      } while (rest !== '')
      return found
    },
    close: () => client.close(),
  }
}
