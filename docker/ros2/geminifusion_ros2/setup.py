"""The ROS 2 package; colcon runs it."""

from setuptools import setup

NAME = "geminifusion_ros2"

setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", ["launch/segment.launch.py"]),
    ],
    install_requires=["setuptools"],
    entry_points={"console_scripts": [f"segment = {NAME}.node:main"]},
)
