// The machines that a release serves, by the names that each kind of package has for them.

export interface Architecture {
  /** As Node names it. */
  readonly node: 'x64' | 'arm64'
  readonly debian: string
  readonly rpm: string
  /** As OCI images and Go name it. */
  readonly image: string
}

export const architectures: readonly Architecture[] = [
  { node: 'x64', debian: 'amd64', rpm: 'x86_64', image: 'amd64' },
  { node: 'arm64', debian: 'arm64', rpm: 'aarch64', image: 'arm64' },
]
