/** The version of this package. */
import manifest from 'starlane/package.json' with { type: 'json' }

/** Read through the package's own name, because sources and build are at different depths. */
export const version: string = manifest.version
