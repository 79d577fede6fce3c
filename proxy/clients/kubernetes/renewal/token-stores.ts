/** Where a kubeconfig with a bound token is kept: a file, or a Secret of the local cluster that Pods mount. */
import { chmod, rename, stat, writeFile } from 'node:fs/promises'
import { readRegularText } from '../../../model/text/regular-file.ts'
import { ApiError } from '../api-error.ts'
import type { KubernetesClient } from '../client.ts'

export interface TokenStore {
  /** The kubeconfig as it is now. */
  read(signal: AbortSignal): Promise<string>
  /** Replaces what was read last. False if it has changed since: another process was first. */
  write(text: string, signal: AbortSignal): Promise<boolean>
}

/** Replaced as a whole, with its mode, so that no reader sees part of it. */
export function fileStore(path: string): TokenStore {
  let known = ''
  return {
    read: async () => {
      known = await readRegularText(path)
      return known
    },
    write: async text => {
      if ((await readRegularText(path)) !== known) return false
      const { mode } = await stat(path)
      const next = `${path}.${process.pid}.tmp`
      await writeFile(next, text, { mode: 0o600 })
      await chmod(next, mode & 0o777)
      await rename(next, path)
      return true
    },
  }
}

interface Secret {
  readonly metadata: object
  readonly data?: Readonly<Record<string, string>>
}

export interface SecretPlace {
  readonly namespace: string
  readonly name: string
  /** The key with the kubeconfig. */
  readonly key: string
}

/** Writes carry the version that was read, so that the first of several processes wins. */
export function secretStore(client: () => KubernetesClient, { namespace, name, key }: SecretPlace): TokenStore {
  const path = `/api/v1/namespaces/${namespace}/secrets/${name}`
  let known: Secret | undefined
  return {
    read: async signal => {
      known = (await client().json({ path }, signal)) as Secret
      const found = known.data?.[key]
      if (found === undefined) throw new Error(`the Secret ${namespace}/${name} has no key ${key}`)
      return Buffer.from(found, 'base64').toString('utf8')
    },
    write: async (text, signal) => {
      const value = { ...known, data: { ...known?.data, [key]: Buffer.from(text).toString('base64') } }
      try {
        await client().json({ method: 'PUT', path, body: { type: 'application/json', value } }, signal)
        return true
      } catch (error) {
        if (error instanceof ApiError && error.status === 409) return false
        throw error
      }
    },
  }
}
