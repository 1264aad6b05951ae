"""Start the node; `ros2 launch geminifusion_ros2 segment.launch.py rgb:=/camera/color/image_raw depth:=…`."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

ARGUMENTS = {
    "url": "grpc://localhost:8001",
    "rgb": "/camera/color/image_raw",
    "depth": "/camera/aligned_depth_to_color/image_raw",
}


def generate_launch_description():
    """The node, with the server's address and the two topics as arguments."""
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, default_value=value) for name, value in ARGUMENTS.items()),
            Node(
                package="geminifusion_ros2",
                executable="segment",
                parameters=[{"url": LaunchConfiguration("url")}],
                remappings=[(name, LaunchConfiguration(name)) for name in ("rgb", "depth")],
            ),
        ]
    )
