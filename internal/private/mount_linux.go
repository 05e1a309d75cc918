package private

import "syscall"

// readOnly reports whether path is on a file system that is mounted read-only. Nobody
// can write there, whatever the mode says.
func readOnly(path string) bool {
	const stReadOnly = 1 // ST_RDONLY of statvfs(3)
	var s syscall.Statfs_t
	return syscall.Statfs(path, &s) == nil && s.Flags&stReadOnly != 0
}
