/** Invitations: who may have a certificate without showing one. Each works once, and not for long. */
import { hash, randomBytes, timingSafeEqual } from 'node:crypto'
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { isClusterName } from '../../model/cluster.ts'
import { MeshError } from '../../model/error.ts'
import { readRegularText } from '../../model/text/regular-file.ts'
import { isTrustDomain, type Role } from '../../model/tunnel/identity.ts'

/** Whom an invitation is for, and how long the certificates are valid that come of it. */
export interface Invited {
  readonly cluster: string
  readonly role: Role
  readonly trustDomain: string
  readonly days: number
}

const name = v.pipe(v.string(), v.check(isClusterName))
const role = v.picklist(['gateway', 'proxy'])
const trustDomain = v.pipe(v.string(), v.check(isTrustDomain))

const kept = v.object({
  /** Of the secret; the secret itself is in the token only. */
  sha256: v.string(),
  cluster: name,
  role,
  trustDomain,
  days: v.number(),
  /** Milliseconds since 1970. */
  expires: v.number(),
})

const tokenContent = v.object({
  version: v.literal(2),
  /** The cluster whose gateway enrols. */
  cluster: name,
  trustDomain,
  gateways: v.pipe(v.array(v.string()), v.minLength(1)),
  /** The root that the gateway's certificate leads to, in PEM. */
  ca: v.string(),
  id: v.string(),
  secret: v.string(),
})

/** What the invited needs: where to ask, who answers, and the secret. It holds no key. */
export type InvitationToken = v.InferOutput<typeof tokenContent>

const prefix = 'starlane-join.'

export function isInvitation(token: string): boolean {
  return token.startsWith(prefix)
}

export function encodeInvitation(token: InvitationToken): string {
  return prefix + Buffer.from(JSON.stringify(token)).toString('base64url')
}

/** Throws `MeshError` USAGE. */
export function decodeInvitation(text: string): InvitationToken {
  try {
    return v.parse(tokenContent, JSON.parse(Buffer.from(text.slice(prefix.length), 'base64url').toString('utf8')))
  } catch (error) {
    const message = 'not a token, or only a part of one; copy it whole from the output of "certificates invite"'
    throw new MeshError('USAGE', message, { cause: error })
  }
}

/** The file of an invitation below the folder of the authority. Undefined for what is no id, such as a path. */
function fileOf(folder: string, id: string): string | undefined {
  return /^[0-9a-f]{16}$/.test(id) ? join(folder, 'invitations', `${id}.json`) : undefined
}

/** Writes an invitation into the folder of the authority. `expires`: milliseconds since 1970. */
export async function invite(
  folder: string,
  invited: Invited,
  expires: number,
): Promise<{ readonly id: string; readonly secret: string }> {
  const id = randomBytes(8).toString('hex')
  const secret = randomBytes(32).toString('base64url')
  await mkdir(join(folder, 'invitations'), { recursive: true, mode: 0o700 })
  const content = { sha256: hash('sha256', secret), ...invited, expires }
  await writeFile(fileOf(folder, id) ?? '', `${JSON.stringify(content)}\n`, { mode: 0o600, flag: 'wx' })
  return { id, secret }
}

/**
 * Uses an invitation up. Undefined if there is none with this id and secret, or if it was used or has expired: a stranger cannot
 * tell these apart. Of several processes that share the folder, one succeeds.
 */
export async function redeem(folder: string, id: string, secret: string, now: number): Promise<Invited | undefined> {
  const file = fileOf(folder, id)
  if (file === undefined) return undefined
  const text = await readRegularText(file).catch(() => undefined)
  if (text === undefined) return undefined
  const { sha256, expires, ...invited } = v.parse(kept, JSON.parse(text))
  if (!timingSafeEqual(Buffer.from(sha256, 'hex'), Buffer.from(hash('sha256', secret), 'hex'))) return undefined
  if (now >= expires) return undefined
  try {
    await rename(file, `${file}.used`)
  } catch {
    return undefined // another was faster
  }
  return invited
}

/** Removes invitations that have expired, and records of used ones. */
export async function removeExpired(folder: string, now: number): Promise<void> {
  const path = join(folder, 'invitations')
  for (const each of await readdir(path).catch(() => [])) {
    const file = join(path, each)
    try {
      if (v.parse(kept, JSON.parse(await readRegularText(file))).expires <= now) await rm(file, { force: true })
    } catch {} // not one of ours
  }
}
