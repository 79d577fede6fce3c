/** Runs credential plugins (`users[].exec` in a kubeconfig). */
import { execFile } from 'node:child_process'
import * as v from 'valibot'
import { MeshError, messageOf } from '../../model/error.ts'
import type { Access, ExecPlugin } from './access.ts'

/** The result of a plugin: a token, a client certificate, or both. */
export interface ExecCredential {
  readonly token?: string
  readonly certificate?: { readonly cert: string; readonly key: string }
  /** Wall-clock milliseconds; undefined: valid until the server refuses it. */
  readonly expiresAt?: number
}

/** The cluster, for plugins with `provideClusterInfo`. */
export interface ExecCluster {
  readonly access: Access
  readonly ca: string | undefined
}

const timeoutMs = 60_000
const maxOutputBytes = 1 << 20

const answer = v.object({
  kind: v.literal('ExecCredential'),
  apiVersion: v.string(),
  status: v.object({
    token: v.nullish(v.string(), ''),
    clientCertificateData: v.nullish(v.string(), ''),
    clientKeyData: v.nullish(v.string(), ''),
    expirationTimestamp: v.nullish(v.string(), ''),
  }),
})

/**
 * Runs a plugin as client-go does (KEP-541), without a terminal: the input is in KUBERNETES_EXEC_INFO, the result on standard
 * output. If it fails, the error contains what it wrote to standard error.
 */
export async function runExecPlugin(
  plugin: ExecPlugin,
  cluster: ExecCluster,
  env: Readonly<Record<string, string | undefined>>,
  signal?: AbortSignal,
): Promise<ExecCredential> {
  const output = await run(plugin, { ...env, ...plugin.env, KUBERNETES_EXEC_INFO: question(plugin, cluster) }, signal)
  const parsed = v.safeParse(answer, parseJson(output))
  if (!parsed.success || parsed.output.apiVersion !== plugin.apiVersion) {
    fail(plugin, `did not print an ExecCredential of ${plugin.apiVersion}; run it by hand`)
  }
  const { token, clientCertificateData: cert, clientKeyData: key, expirationTimestamp } = parsed.output.status
  if (token === '' && cert === '') fail(plugin, 'returned neither a token nor a certificate')
  if ((cert === '') !== (key === ''))
    fail(plugin, 'returned a certificate without its key, or a key without its certificate')
  const expiresAt = Date.parse(expirationTimestamp)
  return {
    ...(token !== '' && { token }),
    ...(cert !== '' && { certificate: { cert, key } }),
    ...(!Number.isNaN(expiresAt) && { expiresAt }),
  }
}

function question({ apiVersion, provideClusterInfo, config }: ExecPlugin, { access, ca }: ExecCluster): string {
  const cluster = {
    server: access.server,
    ...(access.servername !== undefined && { 'tls-server-name': access.servername }),
    ...(access.insecure && { 'insecure-skip-tls-verify': true }),
    ...(ca !== undefined && { 'certificate-authority-data': Buffer.from(ca).toString('base64') }),
    ...(access.proxy !== undefined && { 'proxy-url': access.proxy }),
    ...(config !== undefined && { config }),
  }
  const spec = { interactive: false, ...(provideClusterInfo && { cluster }) }
  return JSON.stringify({ kind: 'ExecCredential', apiVersion, spec })
}

function run(plugin: ExecPlugin, env: NodeJS.ProcessEnv, signal: AbortSignal | undefined): Promise<string> {
  const options = { env, timeout: timeoutMs, maxBuffer: maxOutputBytes, ...(signal && { signal }) }
  return new Promise((resolve, reject) => {
    const child = execFile(plugin.command, plugin.args, options, (error, stdout, stderr) => {
      if (error) reject(explain(plugin, error, stderr))
      else resolve(stdout)
    })
    child.stdin?.end()
  })
}

function explain(plugin: ExecPlugin, error: Error & { code?: unknown; killed?: boolean }, stderr: string): MeshError {
  const said = stderr.trim().slice(-500)
  const what =
    error.code === 'ENOENT'
      ? `is not installed${plugin.installHint ? `: ${plugin.installHint.trim()}` : ''}`
      : error.killed
        ? `did not answer within ${timeoutMs / 1000} s`
        : `failed: ${said || messageOf(error)}`
  // The error is not the cause: its message contains the arguments, which may be secrets.
  return new MeshError('SOURCE_READ', `the credential plugin ${plugin.command} ${what}`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function fail(plugin: ExecPlugin, message: string): never {
  throw new MeshError('SOURCE_READ', `the credential plugin ${plugin.command} ${message}`)
}
