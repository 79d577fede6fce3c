/** The one setting of the image: its registry and name. `node scripts/image.ts` writes it into deploy/, with the version as the tag. */
import { version } from '../version.ts'

/** With its registry: `registry.example/team/starlane`. */
export const imageName = 'starlane'

/** What commands install where no other image is named. */
export const defaultImage = `${imageName}:${version}`
