/** Chooses the HTTP or SOCKS proxy to an API server. */
import { canonicalAddress, parseCidr } from '../../model/address.ts'
import type { Access } from './access.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** The kubeconfig's proxy, else that of the environment, by the rules of Go's `http.ProxyFromEnvironment`. */
export function proxyFor({ proxy, server }: Access, env: Environment): string | undefined {
  if (proxy !== undefined) return proxy
  const { protocol, hostname, port } = new URL(server)
  const host = hostname.replace(/^\[|\]$/g, '')
  if (isLoopback(host)) return undefined
  const chosen = protocol === 'https:' ? (env.HTTPS_PROXY ?? env.https_proxy) : (env.HTTP_PROXY ?? env.http_proxy)
  if (!chosen) return undefined
  const effectivePort = port || (protocol === 'https:' ? '443' : '80')
  const exceptions = (env.NO_PROXY ?? env.no_proxy ?? '').split(',').map(entry => entry.trim().toLowerCase())
  if (exceptions.some(entry => entry !== '' && covers(entry, host, effectivePort))) return undefined
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(chosen) ? chosen : `http://${chosen}`
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (canonicalAddress(host)?.startsWith('127.') ?? false)
}

/** `*`, an address, a CIDR, a domain (with its subdomains), `.domain` or `*.domain` (only its subdomains), with an optional port. */
function covers(entry: string, host: string, port: string): boolean {
  if (entry === '*') return true
  const address = canonicalAddress(host)
  const range = parseCidr(entry)
  if (range) return address !== undefined && range.contains(address)
  const [, name = '', entryPort] = /^\[?(.*?)\]?(?::(\d+))?$/.exec(entry) ?? []
  if (entryPort !== undefined && entryPort !== port) return false
  if (canonicalAddress(name) !== undefined) return canonicalAddress(name) === address
  const domain = name.replace(/^\*(?=\.)/, '')
  return domain.startsWith('.') ? host.endsWith(domain) : host === domain || host.endsWith(`.${domain}`)
}
