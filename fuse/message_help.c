/* SPDX-License-Identifier: GPL-2.0-or-later */
/* message_help - the long text of every id of the catalogue: what it means, and what to do. `fusenfs help ID`. */
#include <string.h>

#include "../conn/util.h"
#include "message.h"

static const char *const texts[MSG_COUNT] = {
	/* The command line. */
	[MSG_USAGE] = "The words of the command line make no sense together.\n"
		      "fusenfs --help shows how to mount, fusenfs COMMAND --help the words of a command.",
	[MSG_BAD_SOURCE] = "What is to be mounted is not SERVER:/PATH, [V6ADDR]:/PATH or nfs://SERVER/PATH.\n"
			   "The path begins with '/': nas:/export, not nas:export.",
	[MSG_UNKNOWN_OPTION] = "No option of that name is known, and nothing was mounted or changed.\n"
			       "fusenfs help options lists all of them. -s (or -o sloppy) makes unknown ones warnings.",
	[MSG_BAD_VALUE] = "The value of an option is no number, out of its range, or none of its words.\n"
			  "The message says what it may be; fusenfs help options, too.",
	[MSG_OPTION_CONFLICT] = "Two options contradict each other, and which one is meant cannot be told.\n"
				"Of words for one thing (hard, soft) the rightmost wins; that is no conflict.",
	[MSG_OPTION_UNSUPPORTED] = "The option is known, but not built. It is refused, for to ignore it could do harm.\n"
				   "Leave it out, if the mount may be without it; else use the kernel client (mount -t nfs).",
	[MSG_OPTION_IGNORED] = "The option is one of nfs(5) that cannot matter here. It has no effect; leave it out.",
	[MSG_MANY_CONNECTIONS] = "More connections than the kernel client would make. Servers limit connections per client:\n"
				 "if some cannot be made, lower nconnect= or raise the limit of the server.",
	[MSG_UNSUPPORTED_SECURITY] = "Kerberos and TLS are not built. The mount is refused rather than made without them.\n"
				     "Use the kernel client (mount -t nfs), or a tunnel such as WireGuard and sec=sys.",
	[MSG_UNSUPPORTED_TRANSPORT] = "NFS over RDMA is not built. Use proto=tcp, which is the default.",
	/* The mount point and the FUSE device. */
	[MSG_MOUNTPOINT_MISSING] = "The directory to mount on does not exist. mkdir -p makes it.",
	[MSG_MOUNTPOINT_NOT_DIR] = "What is to be mounted on is a file. NFS exports are mounted on directories.",
	[MSG_MOUNTPOINT_NOT_EMPTY] = "The directory has entries that the mount would hide.\n"
				     "Take another directory, or -o nonempty if that is meant.",
	[MSG_MOUNTPOINT_TIMEOUT] = "To look at the directory took too long: what is mounted above it does not answer.\n"
				   "fusenfs status shows fusenfs mounts; umount -l takes a dead one away.",
	[MSG_ALREADY_MOUNTED] = "The same export is mounted there already. fusenfs status MOUNT shows it,\n"
				"fusenfs set and mount -o remount change it.",
	[MSG_MOUNTPOINT_BUSY] = "Something else is mounted there. Unmount it, or -o overmount if that is meant.",
	[MSG_STALE_MOUNT] = "A fusenfs mount without its daemon was found, and unmounted to make room for the new one.\n"
			    "It was killed: dmesg says whether for want of memory, coredumpctl whether it had crashed.",
	[MSG_MOUNTPOINT_DENIED] = "A user may mount only on a directory of his own that he can write to.\n"
				  "chown it, or mount as root.",
	[MSG_FUSE_MISSING] = "/dev/fuse does not exist: modprobe fuse. A container needs it from outside:\n"
			     "--device /dev/fuse and the right to mount.",
	[MSG_FUSE_DENIED] = "/dev/fuse may not be opened. Its mode should be 0666; in a container the device must be allowed.",
	[MSG_FUSE_FAILED] = "The kernel or fusermount3 refused the mount; the message has what they say. fusermount3 obeys\n"
			    "/etc/fuse.conf (mount_max=), and the kernel fs.mount-max (sysctl).",
	[MSG_FUSERMOUNT_MISSING] = "Users mount and unmount by fusermount3: install the package fuse3.",
	[MSG_NO_SYS_ADMIN] = "mount(2) was refused: the process lacks CAP_SYS_ADMIN, as in a container without\n"
			     "--cap-add SYS_ADMIN. A descriptor of /dev/fuse can be passed in instead: /dev/fd/N.",
	[MSG_ALLOW_OTHER_DENIED] = "A user needs the line user_allow_other in /etc/fuse.conf for -o allow_other.",
	/* The network and the server. */
	[MSG_DNS_FAILED] = "The server's name has no address. getent ahosts NAME asks the same resolver.",
	[MSG_DNS_TIMEOUT] = "The resolver did not answer. Look at /etc/resolv.conf, and whether its servers can be reached.",
	[MSG_CONN_REFUSED] = "The host answers, but nothing listens on that port: no NFS server runs there, or the port is\n"
			     "another. rpcinfo -p HOST shows what it has registered.",
	[MSG_CONN_TIMEOUT] = "Packets to that port vanish: host down, wrong address, or a firewall that drops them.",
	[MSG_CONN_FAILED] = "The connection could not be made; the message has the system's reason. fusenfs doctor SOURCE\n"
			    "looks at each step on the way to the server.",
	[MSG_NET_UNREACHABLE] = "There is no route to the server. ip route get ADDRESS shows what the kernel thinks.",
	[MSG_RPCBIND_REFUSED] = "The portmapper (port 111) does not answer, so that mountd's port is not known.\n"
				"Give both: -o port=2049,mountport=20048 (the port that the server has for mountd).",
	[MSG_MOUNTD_MISSING] = "The server has no MOUNT version 3 service, which NFS version 3 needs for the first handle.\n"
			       "It may serve NFS version 4 only (mount -t nfs4), or mountd is at another port: mountport=.",
	[MSG_MOUNTD_ERROR] = "The server's mountd failed in a way that is no fault of the command, or answered with what is no\n"
			     "answer. The server's log (journalctl -u nfs-mountd) knows more.",
	[MSG_VERSION_UNSUPPORTED] = "fusenfs speaks NFS version 3. For version 4 use the kernel client: mount -t nfs4.",
	[MSG_NOT_NFS] = "Something answers on that port, but not as an NFS server does: maybe it is the wrong port.",
	[MSG_EXPORT_NOT_FOUND] = "The server does not export that path. The message lists what it does export;\n"
				 "fusenfs exports SERVER shows the same.",
	[MSG_EXPORT_NOT_DIR] = "The path exists on the server, but is no directory: mount the one that it is in.",
	[MSG_ACCESS_DENIED_CLIENT] = "The server exports the path, but not to this host. On the server: /etc/exports and\n"
				     "exportfs -ra, or its own administration.",
	[MSG_ACCESS_DENIED_PORT] = "The server wants requests from ports below 1024, which only root has:\n"
				   "mount as root, or allow 'insecure' ports on the server.",
	[MSG_ACCESS_DENIED_ROOT] = "The root of the export may not be read by whoever mounts: its mode, and root squash on the\n"
				   "server. Mount as its owner, or change the mode.",
	[MSG_AUTH_FLAVOR] = "The server wants another kind of identity than AUTH_SYS, mostly Kerberos: not built. Allow sec=sys\n"
			    "for the export on the server, or use the kernel client (mount -t nfs -o vers=3,sec=krb5).",
	[MSG_MOUNT_TIMEOUT] = "The attempt to mount took longer than mounttimeo=. The message names the stage.\n"
			      "retry= keeps trying; bg mounts without the server.",
	[MSG_ROOT_FAILED] = "The server gave a handle for the export, and then no attributes for it: mountd works, NFS does\n"
			    "not. It may be starting, or an old handle may be in the way: exportfs -ra on the server.",
	[MSG_TOO_FEW_CONNS] = "Fewer than minconnect= connections could be made: the server limits them, or ports are used up.\n"
			      "Lower minconnect=, or raise the limit; fusenfs doctor SOURCE shows what can be reached.",
	[MSG_UDP_FRAGMENTS] = "NFS over UDP: a READ or WRITE of that size is cut into IP fragments, which are told apart by 16 bits\n"
			      "and can be put together wrongly, on a fast link within seconds; the checksum misses some of it\n"
			      "(RFC 4963). Leave rsize= and wsize= out, use TCP, or say udpfrag where that risk is known.",
	[MSG_ADDR_MISMATCH] = "An address of addrs= or of the server's name gave another root handle than the first, or does not\n"
			      "have our root: it is not the same server, or not the same export. It is not used.",
	[MSG_NO_RESVPORT] = "No port below 1024 is free, or they are not permitted. Other ports are used; some servers\n"
			    "refuse those. noresvport makes that the rule, without this message.",
	[MSG_NO_LOCAL] = "An address or interface of localaddrs= cannot be used now. Its connections are made from the\n"
			 "others; it is tried again every half a minute.",
	[MSG_NO_SRCPORT] = "No port of srcports= is free. A connection needs one of its own, so make the range larger.",
	[MSG_KERNEL_TIMEOUT] = "fs.fuse.max_request_timeout (sysctl) makes the kernel abort a mount whose requests take longer.\n"
			       "Calls end before that, also with hard.",
	/* Other commands, the process. */
	[MSG_UMOUNT_BUSY] = "Somebody has the mount as working directory, or a file on it open. The message says who, as far\n"
			    "as it may be seen (root sees all). --lazy detaches it; it ends when they are done.",
	[MSG_UMOUNT_DIRTY] = "Written data is being saved before the mount goes. Wait for it; with --force it is given up\n"
			     "after umounttimeo=.",
	[MSG_REMOUNT_FIXED] = "The option has another value than on the mount, and can be chosen only when it is made.\n"
			      "Unmount and mount again. 'live' in fusenfs help options marks what can change.",
	[MSG_NO_DAEMON] = "No fusenfs mount is there. fusenfs status lists those of this host.",
	[MSG_CTL_DENIED] = "A mount is controlled by who mounted it, and by root. Nobody else is told anything.",
	[MSG_NO_MEMORY] = "The system gave no memory. The mount, if there is one, goes on. free -m, the limits of the unit or\n"
			  "container (MemoryMax=), and ulimit -v say who is short of it; cachesize= and wbuf= take less.",
	[MSG_SYSTEM] = "A system call failed that should not; the message has its error. Often a limit is reached (ulimit -a,\n"
		       "TasksMax= of the unit, pids of the container), or a security module is in the way (dmesg).",
	[MSG_BUG] = "Something happened that cannot. Please report it, with the log and what fusenfs doctor\n"
		    "--bundle=FILE writes.",
	[MSG_INTERRUPTED] = "A signal ended it before it was mounted; nothing is left behind.",
	/* The log of a running mount. */
	[MSG_MOUNTED] = "The mount was made. Nothing is to be done.",
	[MSG_UNMOUNTED] = "The mount has ended: it was unmounted, or the daemon told to end. Nothing is to be done.",
	[MSG_SERVER_DOWN] = "The server has not answered for detect= seconds: calls that need it fail (soft, softerr) or wait\n"
			    "(hard) until its first byte. What is known is told from memory. fusenfs status MOUNT shows\n"
			    "connections and who waits.",
	[MSG_SERVER_OK] = "The server answers again; the line has the length of the outage. Nothing is to be done.",
	[MSG_CONN_DOWN] = "A connection was lost. Its calls went to others, and it is dialled again. Now and then that is\n"
			  "nothing; if one is lost again and again, look at its path: fusenfs status MOUNT has its addresses.",
	[MSG_CONN_UP] = "A connection is back. Nothing is to be done.",
	[MSG_PATH_MTU] = "NFS over UDP: the path takes smaller packets than before, so READs, WRITEs and listings are smaller\n"
			 "from now on. Nothing is lost; it is slower.",
	[MSG_SOFT_TIMEOUT] = "A call was given up at its deadline (optimeo=): the program saw an error. If the server is up,\n"
			     "it is slow: fusenfs stats MOUNT; a longer timeo= or hard waits for it.",
	[MSG_OUTCOME_UNKNOWN] = "A call that changes names was sent, and neither an answer nor a look at the result told whether\n"
				"it happened. The program saw ETIMEDOUT; look whether the change is there before it is repeated.",
	[MSG_WRITE_LOST] = "Written data could not be saved and was discarded: the server was away for deadtimeo=, refused\n"
			   "it, or the mount ended. The line names the file. Its next write, fsync or close failed, too.",
	[MSG_NO_LOCKS] = "The server's lock manager cannot be had: it is not registered with its portmapper, or a firewall is\n"
			 "before that (port 111) or before the lock manager. Lock calls fail with ENOLCK; it is looked for again\n"
			 "when a lock is wanted after some seconds. Where all who lock are on this host, -o nolock keeps locks\n"
			 "here; else start it on the server, or let port 111 and its own through.",
	[MSG_LOCKS_LEFT] = "Locks could not be given back when the mount ended. The server is told to free them when the next\n"
			   "mount begins, or by fusenfs sm-notify; or keeps them until it is restarted.",
	[MSG_NSM_TOLD] = "A mount of this host was killed, or the host was, with locks on that server: it was told to free all\n"
			 "locks of this host (NSM).",
	[MSG_NSM_KEPT] = "A mount of this host was killed, or the host was, with locks on that server, which cannot be told to\n"
			 "free them: it would free all locks of this host, and others have some; or it does not answer. It is\n"
			 "tried again; fusenfs sm-notify does it at once.",
	[MSG_NSM_NO_RECORD] = "It cannot be recorded in /var/lib/fusenfs that there are locks. They work; should fusenfs be killed, the\n"
			      "server is not told to free them.",
	[MSG_LOCK_LOST] = "After a restart the server did not give a lock back: somebody else may have it. Its owner's\n"
			  "next calls on the file fail, until he unlocks or closes it: restart the program that has it.",
	[MSG_VERF_CHANGED] = "The server was restarted before it had stored all that it had taken: that is written again.\n"
			     "Nothing is lost, and nothing is to be done.",
	[MSG_VERF_DIFFERS] = "Addresses of the server give different write verifiers, as heads of a cluster do. Files stay on\n"
			     "one address from now on.",
	[MSG_STALE_HANDLE] = "The server no longer knows the handle of the mount's root: the export was made anew, or its file\n"
			     "system replaced. If it gives another one that is used; otherwise all fails (ESTALE) until the\n"
			     "export is back, and it is asked for again every half a minute.",
	[MSG_BAD_REPLY] = "The server sent what is no valid answer. The connection was closed, the call goes elsewhere or fails.\n"
			  "A fault of the server, or of something in between that changes data: report it there.",
	[MSG_OPTIONS_SET] = "Options of the running mount were changed, by fusenfs set or mount -o remount. They are lost with\n"
			    "the mount: what is to stay goes into fstab.",
	[MSG_NO_CONTROL] = "The control socket could not be made: fusenfs status and the like cannot reach this mount, which\n"
			   "works all the same. Its directory must belong to who mounts, and nobody else may write to it:\n"
			   "/run/fusenfs, $XDG_RUNTIME_DIR/fusenfs or /tmp/fusenfs-UID; ctl=PATH puts it elsewhere.",
	[MSG_NO_METRICS] = "The address or port of metrics= cannot be had: it is in use, or not one of this host. The mount goes\n"
			   "on without. Every mount needs a port of its own.",
	[MSG_NO_ANSWER] = "The daemon of a mount does not answer its control socket: it was killed (umount -l takes the dead\n"
			  "mount away), is stopped, or the socket is not in its place (--ctl=PATH).",
	[MSG_UNSAVED] = "Written data is not on the server's disk, and saving it gets no further. It stays mounted, and is\n"
			"saved when the server answers. --force gives it umounttimeo= seconds, then it is lost.",
	[MSG_BENCH_FAILED] = "fusenfs bench needs a regular file that is not empty, or with --write a directory that may be written\n"
			     "to. The path begins at the server: it need not be mounted anywhere. fusenfs doctor SERVER:/EXPORT\n"
			     "says why the server cannot be reached.",
};

const char *message_help(enum message_id id)
{
	return (unsigned int)id < MSG_COUNT ? texts[id] : NULL;
}

static const char *severity_word(enum message_id id)
{
	switch (message_severity(id)) {
	case SEVERITY_WARNING: return "warning";
	case SEVERITY_NOTICE: return "notice";
	case SEVERITY_ERROR: break;
	}
	return "error";
}

void message_print_help(enum message_id id, FILE *stream)
{
	struct message message = { .id = id };

	fprintf(stream, "%s (%s", message_id_name(id), severity_word(id));
	if (message_exit_code(&message))
		fprintf(stream, ", exit status %d", (int)message_exit_code(&message));
	fprintf(stream, ")\n\n%s\n", message_help(id));
}

void message_print_catalogue(FILE *stream)
{
	fputs("fusenfs help ID tells more of one of these:\n\n", stream);
	for (unsigned int id = MSG_NONE + 1; id < MSG_COUNT; id++) {
		const char *text = message_help((enum message_id)id);

		fprintf(stream, "  %-22s %.*s\n", message_id_name((enum message_id)id), (int)strcspn(text, "\n"), text);
	}
}
