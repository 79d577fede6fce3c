/** The secrets that a configuration leads to: credentials in kubeconfigs, key files, variables. Best effort, reading only. */
import { readdir } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { parse } from 'yaml'
import { readRegularText } from '../../model/text/regular-file.ts'
import { isSecretName, type Redactor } from './redact.ts'

/** Adds all of them to the redactor. */
export async function findSecrets(text: string, file: string, env: NodeJS.Dict<string>, to: Redactor): Promise<void> {
  const config = parsed(text)
  const at = (path: string) =>
    path.startsWith('~/') ? join(env.HOME ?? homedir(), path.slice(2)) : resolve(dirname(resolve(file)), path)
  for (const [, name = ''] of text.matchAll(/\$\{(\w+)(?::-[^}]*)?\}/g)) {
    if (isSecretName(name)) to.add(env[name] ?? '')
  }
  const paths: string[] = []
  for (const { key, value } of leaves(config)) {
    if (isSecretName(key)) to.add(expanded(value, env))
    if (['kubeconfig', 'config'].includes(key)) await credentials(at(expanded(value, env)), to)
    else if (key === 'key') paths.push(at(expanded(value, env)))
    else if (key === 'certificates' || key === 'folder') paths.push(...(await keysIn(at(expanded(value, env)))))
    for (const password of passwordsOf(expanded(value, env))) to.add(password)
  }
  for (const file of (env.KUBECONFIG ?? join(env.HOME ?? homedir(), '.kube/config')).split(':'))
    await credentials(file, to)
  for (const path of paths) to.add(await readRegularText(path).catch(() => ''))
}

/** Of a kubeconfig or of Cilium's client file for etcd. */
async function credentials(file: string, to: Redactor): Promise<void> {
  const content = parsed(await readRegularText(file).catch(() => ''))
  for (const { key, value } of leaves(content)) {
    if (/-data$/.test(key) && /key/.test(key)) {
      to.add(value)
      to.add(Buffer.from(value, 'base64').toString('utf8'))
    } else if (isSecretName(key) || key === 'value') to.add(value)
    else if (key === 'client-key' || key === 'key-file' || key === 'tokenFile')
      to.add(await readRegularText(resolve(dirname(file), value)).catch(() => ''))
    for (const password of passwordsOf(value)) to.add(password)
  }
}

async function keysIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => [])
  return names.filter(name => name.endsWith('.key')).map(name => join(folder, name))
}

function passwordsOf(text: string): string[] {
  const url = URL.parse(text)
  return url?.password ? [url.password, decodeURIComponent(url.password)] : []
}

function expanded(value: string, env: NodeJS.Dict<string>): string {
  return value.replace(/\$\{(\w+)(?::-([^}]*))?\}/g, (_, name, otherwise = '') => env[name] || otherwise)
}

function* leaves(value: unknown, key = ''): Generator<{ readonly key: string; readonly value: string }> {
  if (typeof value === 'string' || typeof value === 'number') yield { key, value: String(value) }
  if (typeof value !== 'object' || value === null) return
  for (const [name, inner] of Object.entries(value)) yield* leaves(inner, Array.isArray(value) ? key : name)
}

function parsed(text: string): unknown {
  try {
    return parse(text)
  } catch {
    return undefined
  }
}
