/** The WireGuard key of this node: made once, kept in a file that only its user may read, and shown to others as its public half. */
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto'
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { MeshError, messageOf } from '../../model/error.ts'
import { isWireguardKey } from '../../model/location.ts'

/** PKCS #8 of X25519 (RFC 8410), without the 32 bytes of the key. */
const prefix = Buffer.from('302e020100300506032b656e04220420', 'hex')

/** Base64, as `wg pubkey` prints it; undefined if there is no key yet. Rejects with UNDERLAY if the file is not private or not a key. */
export async function readPublicKey(file: string): Promise<string | undefined> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new MeshError('UNDERLAY', `${file}: ${messageOf(error)}`, { cause: error })
  })
  if (text === undefined) return undefined
  const { mode } = await stat(file)
  if ((mode & 0o077) !== 0)
    throw new MeshError('UNDERLAY', `${file} can be read by others; make a new key after: rm ${file}`)
  const key = text.trim()
  if (!isWireguardKey(key)) throw new MeshError('UNDERLAY', `${file} holds no WireGuard key (wg genkey); remove it`)
  return publicKeyOf(Buffer.from(key, 'base64'))
}

/** Makes the key if there is none. */
export async function ensurePublicKey(file: string): Promise<string> {
  const known = await readPublicKey(file)
  if (known !== undefined) return known
  const key = randomBytes(32)
  // RFC 7748 section 5.
  key[0] = (key[0] ?? 0) & 248
  key[31] = ((key[31] ?? 0) & 127) | 64
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 })
    await writeFile(file, `${key.toString('base64')}\n`, { mode: 0o600, flag: 'wx' })
    await chmod(file, 0o600)
  } catch (error) {
    const other = (error as NodeJS.ErrnoException).code === 'EEXIST' ? await readPublicKey(file) : undefined
    if (other !== undefined) return other
    throw new MeshError('UNDERLAY', `${file}: ${messageOf(error)}; name another file in underlay.key`, { cause: error })
  }
  return publicKeyOf(key)
}

function publicKeyOf(key: Buffer): string {
  const held = createPrivateKey({ key: Buffer.concat([prefix, key]), format: 'der', type: 'pkcs8' })
  return createPublicKey(held).export({ format: 'der', type: 'spki' }).subarray(-32).toString('base64')
}
