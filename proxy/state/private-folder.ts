/** A folder that only this user can look into. */
import { lstat, mkdir } from 'node:fs/promises'

/** Creates it if it is not there. Rejects for one that belongs to somebody else, or that others can read or write. */
export async function privateFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 })
  const { mode, uid } = await lstat(path).then(stats => {
    if (!stats.isDirectory()) throw new Error(`${path} is not a folder`)
    return stats
  })
  const own = process.getuid?.() ?? uid
  if (uid !== own) throw new Error(`${path} belongs to user ${uid}, and this is ${own}: give it to ${own}`)
  if ((mode & 0o077) !== 0) {
    throw new Error(`${path} is open to others (mode ${(mode & 0o777).toString(8)}): chmod 700 ${path}`)
  }
}
